package check

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cyphonic/cyphonic/internal/cloudconfig"
)

// workload is what runs pods.
type workload struct {
	kind, name string
	selector   *metav1.LabelSelector
	template   corev1.PodTemplateSpec
}

func workloads(objects []runtime.Object) []workload {
	var all []workload
	for _, d := range each[*appsv1.Deployment](objects) {
		all = append(all, workload{"Deployment", d.Name, d.Spec.Selector, d.Spec.Template})
	}
	for _, d := range each[*appsv1.DaemonSet](objects) {
		all = append(all, workload{"DaemonSet", d.Name, d.Spec.Selector, d.Spec.Template})
	}
	for _, s := range each[*appsv1.StatefulSet](objects) {
		all = append(all, workload{"StatefulSet", s.Name, s.Spec.Selector, s.Spec.Template})
	}
	return all
}

func inEveryOverlay(t *testing.T, check func(t *testing.T, objects []runtime.Object)) {
	t.Helper()
	for _, overlay := range overlays(t) {
		t.Run(overlay, func(t *testing.T) { check(t, render(t, overlay)) })
	}
}

func TestPodsAreSelectedByTheirWorkloadOnly(t *testing.T) {
	inEveryOverlay(t, func(t *testing.T, objects []runtime.Object) {
		all := workloads(objects)
		for _, w := range all {
			selector, err := metav1.LabelSelectorAsSelector(w.selector)
			if err != nil {
				t.Fatal(err)
			}
			for _, other := range all {
				if selector.Matches(labels.Set(other.template.Labels)) != (other.name == w.name) {
					t.Errorf("the selector of %s and the pods of %s", w.name, other.name)
				}
			}
		}
	})
}

func TestProbesLeadToPortsOfTheContainer(t *testing.T) {
	inEveryOverlay(t, func(t *testing.T, objects []runtime.Object) {
		for _, w := range workloads(objects) {
			for _, c := range w.template.Spec.Containers {
				ports := make(map[string]bool)
				for _, p := range c.Ports {
					ports[p.Name] = true
				}
				if c.LivenessProbe == nil || c.ReadinessProbe == nil {
					t.Errorf("%s has no probes", w.name)
					continue
				}
				for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
					if p != nil && (p.HTTPGet == nil || !ports[p.HTTPGet.Port.StrVal]) {
						t.Errorf("%s: a probe asks a port that the container does not have", w.name)
					}
				}
				if c.LivenessProbe.HTTPGet.Path != "/livez" || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
					t.Errorf("%s: liveness must not depend on readiness", w.name)
				}
			}
		}
	})
}

func TestVolumesAndTheirSourcesExist(t *testing.T) {
	inEveryOverlay(t, func(t *testing.T, objects []runtime.Object) {
		sources := make(map[string]bool)
		for _, c := range each[*corev1.ConfigMap](objects) {
			sources[c.Name] = true
		}
		for _, s := range each[*corev1.Secret](objects) {
			sources[s.Name] = true
		}
		claims := make(map[string]bool)
		for _, s := range each[*appsv1.StatefulSet](objects) {
			for _, c := range s.Spec.VolumeClaimTemplates {
				claims[c.Name] = true
			}
		}
		for _, w := range workloads(objects) {
			names := make(map[string]bool)
			for _, v := range w.template.Spec.Volumes {
				names[v.Name] = true
				if v.ConfigMap != nil && !sources[v.ConfigMap.Name] {
					t.Errorf("%s: there is no ConfigMap %s", w.name, v.ConfigMap.Name)
				}
				if v.Secret != nil && !sources[v.Secret.SecretName] && (v.Secret.Optional == nil || !*v.Secret.Optional) {
					t.Errorf("%s: there is no Secret %s", w.name, v.Secret.SecretName)
				}
			}
			for _, c := range w.template.Spec.Containers {
				for _, m := range c.VolumeMounts {
					if !names[m.Name] && !claims[m.Name] {
						t.Errorf("%s: there is no volume %s", w.name, m.Name)
					}
				}
			}
		}
	})
}

// configuration is the configuration of cyphonicd in an overlay, read as the program reads it.
func configuration(t *testing.T, objects []runtime.Object) cloudconfig.Config {
	t.Helper()
	for _, c := range each[*corev1.ConfigMap](objects) {
		if text, ok := c.Data["cyphonicd.yaml"]; ok {
			config, err := cloudconfig.Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			return config
		}
	}
	t.Fatal("there is no configuration")
	return cloudconfig.Config{}
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestADrainEndsBeforeTheKubeletKills(t *testing.T) {
	const margin = 10 * time.Second
	inEveryOverlay(t, func(t *testing.T, objects []runtime.Object) {
		config := configuration(t, objects)
		drain := duration(t, config.Replica.Drain.Wait) + duration(t, config.Replica.Drain.HandOver) + duration(t, config.Replica.Drain.Finish)
		for _, d := range each[*appsv1.Deployment](objects) {
			need := drain + margin
			if d.Name == "manager" {
				need = duration(t, config.Manager.ShutdownDelay) + 18*time.Second + margin // watches 8 s, requests under way 10 s
			}
			if got := time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second; got < need {
				t.Errorf("%s: %v of grace, but a drain may take %v", d.Name, got, need)
			}
			if hook := d.Spec.Template.Spec.Containers[0].Lifecycle; hook == nil || hook.PreStop == nil ||
				!slices.Contains(hook.PreStop.Exec.Command, "drain") {
				t.Errorf("%s: no preStop hook that drains", d.Name)
			}
			// What waits for a replica to leave must be longer than what notices that it has.
			probe := d.Spec.Template.Spec.Containers[0].ReadinessProbe
			if notice := time.Duration(probe.PeriodSeconds*probe.FailureThreshold) * time.Second; notice >= duration(t, config.Replica.Drain.Wait) {
				t.Errorf("%s: readiness is noticed after %v", d.Name, notice)
			}
		}
	})
}

func TestFilesOfTheConfigurationAreMounted(t *testing.T) {
	inEveryOverlay(t, func(t *testing.T, objects []runtime.Object) {
		config := configuration(t, objects)
		files := map[string][]string{
			"manager": {config.Manager.CertificateFile, config.Manager.KeyFile, config.Manager.AdminTokenHashFile, config.Etcd.CAFile},
			"as":      {config.AS.CertificateFile, config.AS.IssuerKeyFile, config.AS.IssuerCertificateFile, config.Etcd.KeyFile},
			"nms":     {config.Etcd.CertificateFile}, "trs": {config.Etcd.CertificateFile},
		}
		for _, w := range workloads(objects) {
			for _, file := range files[w.name] {
				if !slices.ContainsFunc(w.template.Spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
					return strings.HasPrefix(file, m.MountPath+"/")
				}) {
					t.Errorf("%s: nothing is mounted for %q", w.name, file)
				}
			}
		}
	})
}

func TestAutoscalersAndBudgetsFindTheirWorkloads(t *testing.T) {
	inEveryOverlay(t, func(t *testing.T, objects []runtime.Object) {
		deployments := make(map[string]*appsv1.Deployment)
		for _, d := range each[*appsv1.Deployment](objects) {
			deployments[d.Name] = d
			if d.Spec.Replicas != nil {
				t.Errorf("%s: its number is the autoscaler's", d.Name)
			}
		}
		scaled := make(map[string]bool)
		for _, h := range each[*autoscalingv2.HorizontalPodAutoscaler](objects) {
			scaled[h.Spec.ScaleTargetRef.Name] = deployments[h.Spec.ScaleTargetRef.Name] != nil
			for _, m := range h.Spec.Metrics {
				if m.Resource == nil {
					t.Errorf("%s: a metric that not every cluster has", h.Name)
				}
			}
		}
		protected := make(map[string]bool)
		for _, b := range each[*policyv1.PodDisruptionBudget](objects) {
			selector, _ := metav1.LabelSelectorAsSelector(b.Spec.Selector)
			for _, w := range workloads(objects) {
				protected[w.name] = protected[w.name] || selector.Matches(labels.Set(w.template.Labels))
			}
		}
		for name, d := range deployments {
			if !scaled[name] || !protected[name] {
				t.Errorf("%s: scaled %v, protected %v", name, scaled[name], protected[name])
			}
			if d.Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().IsZero() {
				t.Errorf("%s: without a request of CPU there is no utilization", name)
			}
		}
	})
}

func TestEveryPortIsAllowedAndNothingElse(t *testing.T) {
	inEveryOverlay(t, func(t *testing.T, objects []runtime.Object) {
		for _, w := range workloads(objects) {
			if w.template.Spec.HostNetwork {
				continue // network policies are about pods
			}
			allowed := make(map[int32]bool)
			denied := false
			for _, p := range each[*networkingv1.NetworkPolicy](objects) {
				selector, _ := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
				if !selector.Matches(labels.Set(w.template.Labels)) {
					continue
				}
				denied = denied || len(p.Spec.PodSelector.MatchLabels) == 0 && len(p.Spec.Ingress) == 0 && len(p.Spec.PolicyTypes) == 2
				for _, rule := range p.Spec.Ingress {
					for _, port := range rule.Ports {
						allowed[port.Port.IntVal] = true
					}
				}
			}
			if !denied {
				t.Errorf("%s: not everything is denied to begin with", w.name)
			}
			for _, port := range w.template.Spec.Containers[0].Ports {
				if !allowed[port.ContainerPort] {
					t.Errorf("%s: nobody may reach port %d", w.name, port.ContainerPort)
				}
				delete(allowed, port.ContainerPort)
			}
			if len(allowed) > 0 {
				t.Errorf("%s: ports %v are allowed and not used", w.name, allowed)
			}
		}
	})
}

// What runs on the network of its host has the address of the host: no selector of pods lets it in.
func TestWhatIsOnTheNetworkOfTheHostReachesTheDatabase(t *testing.T) {
	inEveryOverlay(t, func(t *testing.T, objects []runtime.Object) {
		if !slices.ContainsFunc(workloads(objects), func(w workload) bool { return w.template.Spec.HostNetwork }) {
			return
		}
		for _, p := range each[*networkingv1.NetworkPolicy](objects) {
			for _, rule := range p.Spec.Ingress {
				named := slices.ContainsFunc(rule.From, func(from networkingv1.NetworkPolicyPeer) bool { return from.IPBlock != nil })
				database := slices.ContainsFunc(rule.Ports, func(port networkingv1.NetworkPolicyPort) bool { return port.Port.IntVal == 2379 })
				if p.Spec.PodSelector.MatchLabels["app.kubernetes.io/name"] == "etcd" && database && (named || len(rule.From) == 0) {
					return
				}
			}
		}
		t.Error("etcd lets pods in only")
	})
}

// Everybody may write to the folder at which Kubernetes mounts a Secret, which cyphonicd refuses; the files are in a folder below it.
func TestFoldersOfSecretsAreNotTheMountItself(t *testing.T) {
	inEveryOverlay(t, func(t *testing.T, objects []runtime.Object) {
		config := configuration(t, objects)
		for _, folder := range []string{config.Speaker.SecretsDirectory, config.Manager.SecretsDirectory} {
			for _, w := range workloads(objects) {
				if slices.ContainsFunc(w.template.Spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == folder }) {
					t.Errorf("%s: %s is a mount", w.name, folder)
				}
			}
		}
	})
}

func TestServicesKeepTheSendersAddress(t *testing.T) {
	inEveryOverlay(t, func(t *testing.T, objects []runtime.Object) {
		for _, s := range each[*corev1.Service](objects) {
			if s.Spec.ClusterIP == corev1.ClusterIPNone {
				continue
			}
			if s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
				t.Errorf("%s would hide who sends", s.Name)
			}
			var found bool
			for _, w := range workloads(objects) {
				if labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.template.Labels)) {
					for _, p := range s.Spec.Ports {
						found = slices.ContainsFunc(w.template.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool {
							return c.Name == p.TargetPort.StrVal && c.Protocol == p.Protocol || p.Protocol == "" && c.Name == p.TargetPort.StrVal
						})
					}
				}
			}
			if !found {
				t.Errorf("%s leads nowhere", s.Name)
			}
		}
	})
}
