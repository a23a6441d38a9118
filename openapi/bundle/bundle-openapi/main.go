// Command bundle-openapi writes the specification that the code generator reads: `bundle-openapi ROOT OUT`. What is alike for all kinds of resources it writes out of
// templates: beside paths/kind.yaml.tmpl the paths of each kind, and what leads from the generated server, and to the generated client, to the one
// implementation for all kinds. It is run by go generate and is not installed.
package main

import (
	"fmt"
	"go/format"
	"os"
	"path/filepath"

	"github.com/cyphonic/cyphonic/openapi/bundle"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: bundle-openapi ROOT OUT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "bundle-openapi:", err)
		os.Exit(1)
	}
}

func kinds() []bundle.Kind {
	return []bundle.Kind{
		{Kind: "Network", Kinds: "Networks", Plural: "networks"},
		{Kind: "Node", Kinds: "Nodes", Plural: "nodes"},
		{Kind: "Adapter", Kinds: "Adapters", Plural: "adapters"},
		{Kind: "GeneralNode", Kinds: "GeneralNodes", Plural: "generalnodes"},
		{Kind: "AccessPolicy", Kinds: "AccessPolicies", Plural: "accesspolicies"},
		{Kind: "CloudService", Kinds: "CloudServices", Plural: "cloudservices"},
		{Kind: "EnrollmentToken", Kinds: "EnrollmentTokens", Plural: "enrollmenttokens", Secret: true},
		{Kind: "Role", Kinds: "Roles", Plural: "roles"},
		{Kind: "RoleBinding", Kinds: "RoleBindings", Plural: "rolebindings"},
		{Kind: "APIToken", Kinds: "APITokens", Plural: "apitokens", Secret: true},
		{Kind: "GitSource", Kinds: "GitSources", Plural: "gitsources"},
		{Kind: "BGPPeer", Kinds: "BGPPeers", Plural: "bgppeers"},
		{Kind: "BGPAdvertisement", Kinds: "BGPAdvertisements", Plural: "bgpadvertisements"},
		{Kind: "Replica", Kinds: "Replicas", Plural: "replicas", ReadOnly: true},
		{Kind: "Event", Kinds: "Events", Plural: "events", ReadOnly: true},
	}
}

func run(root, out string) error {
	directory := filepath.Dir(root)
	text, err := os.ReadFile(filepath.Join(directory, "paths", "kind.yaml.tmpl"))
	if err != nil {
		return err
	}
	for _, kind := range kinds() {
		paths, err := bundle.Expand(string(text), kind)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(directory, "paths", kind.Plural+".gen.yaml"), paths, 0o644); err != nil {
			return err
		}
	}
	for template, out := range map[string]string{"server-operations.tmpl": "../manager/rest/operations.gen.go", "client-operations.tmpl": "../api/client/operations.gen.go"} {
		if err := writeCode(filepath.Join(directory, "templates", template), filepath.Join(directory, out)); err != nil {
			return err
		}
	}
	document, err := bundle.Bundle(os.DirFS(directory), filepath.Base(root))
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, document, 0o644); err != nil {
		return err
	}
	bounds, err := bundle.Bounds(document)
	if err != nil {
		return err
	}
	text, err = os.ReadFile(filepath.Join(directory, "templates", "bounds.tmpl"))
	if err != nil {
		return err
	}
	return writeText(string(text), bounds, filepath.Join(directory, "../api/bounds.gen.go"))
}

// writeCode writes a Go file out of a template about all kinds.
func writeCode(template, out string) error {
	text, err := os.ReadFile(template)
	if err != nil {
		return err
	}
	return writeText(string(text), kinds(), out)
}

func writeText(text string, about any, out string) error {
	code, err := bundle.Expand(text, about)
	if err != nil {
		return err
	}
	formatted, err := format.Source(code)
	if err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	return os.WriteFile(out, formatted, 0o644)
}
