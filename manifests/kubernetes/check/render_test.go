package check

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metallbv1beta1 "go.universe.tf/metallb/api/v1beta1"
	metallbv1beta2 "go.universe.tf/metallb/api/v1beta2"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// overlays are all installations that there are manifests for.
func overlays(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("../overlays")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) != 3 {
		t.Fatalf("overlays: %v", names)
	}
	return names
}

// siteFiles are what cyphonicctl init makes and an installation brings along.
func siteFiles() []string {
	return []string{
		"trust.json", "cloud/tls.crt", "cloud/tls.key", "cloud/admin-token.sha256", "cloud/issuer.key", "cloud/issuer.cert",
		"etcd/ca.crt", "etcd/server.crt", "etcd/server.key", "etcd/client.crt", "etcd/client.key",
	}
}

// render builds an overlay as kubectl apply -k would, with sample secrets, and decodes every object strictly.
func render(t *testing.T, overlay string) []runtime.Object {
	t.Helper()
	return decode(t, build(t, overlay, nil))
}

// build renders an overlay; components are added to it.
func build(t *testing.T, overlay string, components []string) [][]byte {
	t.Helper()
	system := filesys.MakeFsInMemory()
	for _, folder := range []string{"base", "components", "overlays"} {
		copyTree(t, system, filepath.Join("..", folder), "/kubernetes/"+folder)
	}
	directory := "/kubernetes/overlays/" + overlay
	for _, name := range siteFiles() {
		if err := system.WriteFile(directory+"/site/"+name, []byte("sample")); err != nil {
			t.Fatal(err)
		}
	}
	if len(components) > 0 {
		wrapper := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../overlays/" + overlay + "]\ncomponents:\n"
		for _, c := range components {
			wrapper += "  - ../components/" + c + "\n"
		}
		directory = "/kubernetes/with-components"
		if err := system.WriteFile(directory+"/kustomization.yaml", []byte(wrapper)); err != nil {
			t.Fatal(err)
		}
	}
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(system, directory)
	if err != nil {
		t.Fatalf("%s: %v", overlay, err)
	}
	var documents [][]byte
	for _, r := range result.Resources() {
		raw, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, raw)
	}
	return documents
}

func copyTree(t *testing.T, system filesys.FileSystem, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.Contains(path, "/site/") {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return system.WriteFile(to+strings.TrimPrefix(path, from), raw)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// decode takes each document for what it says it is; an unknown field or a field that appears twice is an error.
func decode(t *testing.T, documents [][]byte) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv2.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme,
		metallbv1beta1.AddToScheme, metallbv1beta2.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []runtime.Object
	for _, raw := range documents {
		object, _, err := decoder.Decode(raw, nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		objects = append(objects, object)
	}
	return objects
}

// each returns the objects of one type.
func each[T runtime.Object](objects []runtime.Object) []T {
	var found []T
	for _, o := range objects {
		if t, ok := o.(T); ok {
			found = append(found, t)
		}
	}
	return found
}

func TestEveryOverlayRendersAndDecodesStrictly(t *testing.T) {
	for _, overlay := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			objects := render(t, overlay)
			if len(each[*appsv1.Deployment](objects)) != 4 || len(each[*appsv1.StatefulSet](objects)) != 1 {
				t.Error("an installation has four Deployments and the StatefulSet of etcd")
			}
			if got := len(each[*appsv1.DaemonSet](objects)); (overlay == "production-speaker") != (got == 1) {
				t.Errorf("%d DaemonSets", got)
			}
			decode(t, build(t, overlay, []string{"custom-metrics"}))
		})
	}
}
