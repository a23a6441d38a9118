package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cyphonic/cyphonic"

// listedPackage is the part of `go list -json` that the rules need.
type listedPackage struct {
	ImportPath, Name, Dir, Doc string
	GoFiles                    []string
	TestGoFiles, XTestGoFiles  []string
	Imports, Deps              []string
}

// short is the import path within the module; "" for the root.
func (p listedPackage) short() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// modulePackages lists all packages of the module, sorted as go list does.
func modulePackages(t *testing.T) []listedPackage {
	t.Helper()
	command := exec.Command("go", "list",
		"-json=ImportPath,Name,Dir,Doc,GoFiles,TestGoFiles,XTestGoFiles,Imports,Deps", module+"/...")
	out, err := command.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("go list: %v: %s", err, exit.Stderr)
	} else if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listedPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages, the rules would hold for nothing", len(packages))
	}
	return packages
}

// within tells whether a path is one of the roots or below one.
func within(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// forbidden lists the paths that lie below one of the roots but below none of the exceptions.
func forbidden(paths, roots, exceptions []string) []string {
	var found []string
	for _, path := range paths {
		if within(path, roots...) && !within(path, exceptions...) {
			found = append(found, path)
		}
	}
	return found
}

func TestEdgeProgramsStaySmall(t *testing.T) {
	checked := 0
	for _, p := range modulePackages(t) {
		if !within(p.short(), "cmd/cyphonic-node", "cmd/cyphonic-adapter", "node", "adapter") {
			continue
		}
		checked++
		heavy := []string{"go.etcd.io", "google.golang.org/grpc", "k8s.io", "sigs.k8s.io", "github.com/labstack/echo", "github.com/osrg/gobgp"}
		light := []string{"sigs.k8s.io/yaml", "k8s.io/utils"}
		if found := forbidden(p.Deps, heavy, light); len(found) > 0 {
			t.Errorf("%s depends on %v: edge programs carry no etcd, gRPC, Kubernetes, Echo or GoBGP", p.short(), found)
		}
	}
	if checked < 4 {
		t.Errorf("only %d edge packages found", checked)
	}
}

func TestHeavyLibrariesHaveTheirPlaces(t *testing.T) {
	for _, rule := range []struct {
		library string
		places  []string
	}{
		{"go.etcd.io", []string{"manager/store/etcd", "services/replica"}},
		{"github.com/labstack/echo", []string{"manager/rest", "manager/console"}},
		{"github.com/osrg/gobgp", []string{"services/speaker"}},
		{"github.com/go-git/go-git", []string{"manager/gitsync"}},
		{"github.com/coreos/go-oidc", []string{"manager/access", "internal/ctl"}},
		{"filippo.io/age", []string{"manager/backup", "internal/ctl"}},
		{"github.com/vishvananda", []string{"internal/netconf", "internal/lab", "internal/tun", "internal/udp", "adapter/lan", "services/speaker/netfilter"}},
		{"github.com/mdlayher/packet", []string{"internal/lab", "adapter/lan"}},
		{"golang.org/x/sys", []string{"internal/netconf", "internal/lab", "internal/tun", "internal/udp", "adapter/lan", "services/speaker/netfilter"}},
	} {
		for _, p := range modulePackages(t) {
			if within(p.short(), rule.places...) {
				continue
			}
			// Package cpu asks the processor, not the system.
			if found := forbidden(p.Imports, []string{rule.library}, []string{"golang.org/x/sys/cpu"}); len(found) > 0 {
				t.Errorf("%s imports %v, which belongs to %v only", p.short(), found, rule.places)
			}
		}
	}
}

// programs are the packages that meet only at internal/wire or at REST.
func programs() []string {
	return []string{
		module + "/manager", module + "/services/as", module + "/services/nms", module + "/services/trs",
		module + "/services/speaker", module + "/node", module + "/adapter",
	}
}

func TestProgramsDoNotImportOneAnother(t *testing.T) {
	checked := 0
	for _, p := range modulePackages(t) {
		own := slices.IndexFunc(programs(), func(root string) bool { return within(p.ImportPath, root) })
		switch {
		case own >= 0:
			checked++
			if found := forbidden(p.Deps, programs(), programs()[own:own+1]); len(found) > 0 {
				t.Errorf("%s depends on another program: %v", p.short(), found)
			}
		case within(p.short(), "internal", "api", "services/replica"):
			if found := forbidden(p.Deps, programs(), nil); len(found) > 0 {
				t.Errorf("%s is a building block and depends on a program: %v", p.short(), found)
			}
		}
		if found := forbidden(p.Imports, []string{module + "/cmd"}, nil); len(found) > 0 {
			t.Errorf("%s imports %v: nothing imports a program's main", p.short(), found)
		}
	}
	if checked < len(programs())-1 {
		t.Errorf("only %d packages of programs found", checked)
	}
}

func TestAPIAndWireStandAlone(t *testing.T) {
	thirdParty := func(path string) bool {
		first, _, _ := strings.Cut(path, "/")
		return strings.Contains(first, ".") && !strings.HasPrefix(path, "vendor/")
	}
	alone := map[string]bool{"api": false, "internal/wire": false}
	for _, p := range modulePackages(t) {
		if _, ok := alone[p.short()]; ok {
			alone[p.short()] = true
			for _, dep := range p.Deps {
				if thirdParty(dep) {
					t.Errorf("%s depends on %s: only the standard library is allowed", p.short(), dep)
				}
			}
		}
		if within(p.short(), "internal/dataplane", "internal/tunnel", "internal/wire", "internal/udp", "internal/tun") {
			if found := forbidden(p.Deps, []string{module + "/api"}, nil); len(found) > 0 {
				t.Errorf("%s depends on %v: the data plane knows nothing of resources", p.short(), found)
			}
		}
	}
	for name, seen := range alone {
		if !seen {
			t.Errorf("package %s not found", name)
		}
	}
}

// End-to-end keys exist in internal/tunnel only, so a program without it cannot hold one.
func TestTheCloudHoldsNoEndKey(t *testing.T) {
	cloud := []string{"manager", "services", "cmd/cyphonicd", "internal/policy", "internal/keyspace", "internal/cloudconfig"}
	ends := []string{module + "/internal/tunnel", module + "/internal/dataplane", module + "/internal/endpoint"}
	checked, holders := 0, 0
	for _, p := range modulePackages(t) {
		if within(p.short(), "node", "adapter") && len(forbidden(p.Deps, ends[:1], nil)) > 0 {
			holders++
		}
		if !within(p.short(), cloud...) {
			continue
		}
		checked++
		if found := forbidden(p.Deps, ends, nil); len(found) > 0 {
			t.Errorf("%s depends on %v: no program of the cloud may hold an end-to-end key", p.short(), found)
		}
	}
	if checked < len(cloud) || holders == 0 {
		t.Errorf("%d packages of the cloud and %d holders of end keys found: the rule looks at the wrong names", checked, holders)
	}
}

// badNames are package names that say nothing about what is inside.
func badNames() []string {
	return []string{"util", "utils", "common", "types", "shared", "helper", "helpers", "pkg", "misc"}
}

func TestPackagesHaveATellingNameAndAComment(t *testing.T) {
	for _, p := range modulePackages(t) {
		for element := range strings.SplitSeq(p.short(), "/") {
			if slices.Contains(badNames(), element) {
				t.Errorf("%s: a package or folder named %s says nothing", p.short(), element)
			}
		}
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment: say what it is for and what it must not do", p.short())
		}
		if p.Name == "main" && !within(p.short(), "cmd", "openapi", "manifests/images") {
			t.Errorf("%s is a program outside cmd/ (generators live in openapi/ and manifests/images/)", p.short())
		}
	}
}

func TestForbiddenFindsAndExcepts(t *testing.T) {
	got := forbidden([]string{"a/b", "a/c/d", "ab", "x"}, []string{"a", "x"}, []string{"a/c"})
	if fmt.Sprint(got) != "[a/b x]" {
		t.Errorf("got %v", got)
	}
}
