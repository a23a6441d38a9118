package check

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// deviations are all that is not of the profile "restricted", by overlay and workload, with the reason in the manifests.
func deviations() map[string]map[string][]string {
	return map[string]map[string][]string{
		"one-machine":        {},
		"production-metallb": {"trs": {"hostPort"}},
		"production-speaker": {
			"trs": {"hostPort"},
			"as":  {"restricted volume types"}, "nms": {"restricted volume types"}, "manager": {"restricted volume types"}, // hostPath: the socket
			"speaker": {
				"host namespaces", "hostPort", "restricted volume types", "runAsNonRoot != true", "runAsUser=0", "unrestricted capabilities",
			},
		},
	}
}

func TestPodsAreRestrictedButForWhatIsNamed(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	for _, overlay := range overlays(t) {
		objects := render(t, overlay)
		enforced := api.LevelRestricted
		for _, n := range each[*corev1.Namespace](objects) {
			enforced = api.Level(n.Labels["pod-security.kubernetes.io/enforce"])
		}
		all := workloads(objects)
		if len(all) < 5 {
			t.Fatalf("%s: %d workloads", overlay, len(all))
		}
		needed := false
		for _, w := range all {
			var got []string
			for _, r := range evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &w.template.ObjectMeta, &w.template.Spec) {
				if !r.Allowed {
					got = append(got, r.ForbiddenReason)
				}
			}
			slices.Sort(got)
			got = slices.Compact(got)
			if want := deviations()[overlay][w.name]; !slices.Equal(got, want) {
				t.Errorf("%s, %s: not restricted: %q, want %q", overlay, w.name, got, want)
			}
			needed = needed || len(got) > 0
		}
		if needed != (enforced == api.LevelPrivileged) {
			t.Errorf("%s: the namespace enforces %q", overlay, enforced)
		}
	}
}

func TestNothingTalksToKubernetes(t *testing.T) {
	inEveryOverlay(t, func(t *testing.T, objects []runtime.Object) {
		for _, w := range workloads(objects) {
			if token := w.template.Spec.AutomountServiceAccountToken; token == nil || *token {
				t.Errorf("%s gets a token of the Kubernetes API", w.name)
			}
			for _, c := range w.template.Spec.Containers {
				if !*c.SecurityContext.ReadOnlyRootFilesystem {
					t.Errorf("%s can write to its image", w.name)
				}
				for _, e := range c.Env {
					if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil || strings.Contains(strings.ToLower(e.Name), "token") {
						t.Errorf("%s: a secret in the environment", w.name)
					}
				}
				if c.Resources.Limits.Memory().IsZero() {
					t.Errorf("%s: memory without a limit", w.name)
				}
			}
		}
	})
}
