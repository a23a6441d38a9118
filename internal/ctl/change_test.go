package ctl_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/ctl"
	"github.com/cyphonic/cyphonic/internal/identity"
)

// sealed TEXT waits until a record with the text has its place in the chain of the audit log.
func sealed(ts *testscript.TestScript, _ bool, args []string) {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for range 200 {
		ts.Check(ts.Exec("cyphonicctl", "audit", "list", "--since", "0", "--limit", "0", "-o", "json"))
		if out := ts.ReadFile("stdout"); strings.Contains(out, args[0]) && !strings.Contains(out, `"sequence": 0,`) {
			return
		}
		<-again.C
	}
	ts.Fatalf("no record with %s is in the chain after 20 s:\n%s", args[0], ts.ReadFile("stdout"))
}

// phase NAME PHASE reports the phase of a general node as its adapter would.
func phase(ts *testscript.TestScript, _ bool, args []string) {
	manager, err := clientOf(ts.Getenv("CYPHONIC_CONFIG"))
	ts.Check(err)
	defer manager.Close()
	ctx := ts.Value(contextKey{}).(testing.TB).Context()
	kind, _ := api.KindNamed("GeneralNode")
	o, err := manager.Get(ctx, kind, args[0])
	ts.Check(err)
	o.(*api.GeneralNode).Status.Phase = api.DevicePhase(args[1])
	o.Meta().ResourceVersion = ""
	_, err = manager.PutStatus(ctx, o)
	ts.Check(err)
}

type contextKey struct{}

// clientOf is a client with the credential of a configuration file.
func clientOf(config string) (*client.Client, error) {
	content, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	var fields struct {
		Contexts []struct{ Server, Trust, Token string }
	}
	if err := yaml.Unmarshal(content, &fields); err != nil || len(fields.Contexts) != 1 {
		return nil, fmt.Errorf("%s: %w, %d contexts", config, err, len(fields.Contexts))
	}
	context := fields.Contexts[0]
	trust, err := identity.LoadTrust(filepath.Join(filepath.Dir(config), context.Trust))
	if err != nil {
		return nil, err
	}
	return client.New(client.Options{Server: context.Server, CA: trust.TLSCA, Token: client.StaticToken(context.Token)})
}

// operator runs commands as somebody at a terminal, who answers all questions the same.
type operator struct {
	t      *testing.T
	config string
}

func (o operator) run(want int, answer string, args ...string) (stdout, stderr string) {
	o.t.Helper()
	var out, errors strings.Builder
	env := ctl.OperatingSystem()
	env.Stdin, env.Stdout, env.Stderr = strings.NewReader(answer), &out, &errors
	env.Terminal = func(any) bool { return true }
	env.Getenv = func(name string) string {
		return map[string]string{"CYPHONIC_CONFIG": o.config, "NO_COLOR": "1"}[name]
	}
	if code := ctl.Run(o.t.Context(), args, env); code != want {
		o.t.Fatalf("%q ended with %d, want %d:\n%s%s", args, code, want, &out, &errors)
	}
	return out.String(), errors.String()
}

func startedOperator(t *testing.T) operator {
	t.Helper()
	config, err := startManager(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return operator{t, config}
}

func (o operator) file(text string) string {
	o.t.Helper()
	name := filepath.Join(o.t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return name
}

// On a terminal apply asks where access is gained or something is deleted, and nowhere else; everything but yes is no.
func TestApplyAsksOnATerminal(t *testing.T) {
	t.Parallel()
	o := startedOperator(t)
	o.run(0, "y\n", "apply", "-f", "../../manifests/examples")
	open := o.file("{apiVersion: cyphonic/v1, kind: AccessPolicy, metadata: {name: open}, spec: {network: factory, from: [{}], to: [{}], rules: [{protocol: any}]}}")
	for _, answer := range []string{"n\n", "\n", "", "yess\n"} {
		_, stderr := o.run(1, answer, "apply", "-f", open)
		if !strings.Contains(stderr, "Give access to 6 more pairs of devices? [y/N]") || !strings.Contains(stderr, "nothing was changed") {
			t.Errorf("answer %q: %s", answer, stderr)
		}
	}
	o.run(4, "", "get", "accesspolicy", "open")
	o.run(0, "YES\n", "apply", "-f", open)
	// Nothing gained: no question.
	if _, stderr := o.run(0, "", "apply", "-f", open); strings.Contains(stderr, "?") {
		t.Errorf("asked for nothing: %s", stderr)
	}
	closed := strings.Replace(mustRead(t, open), "any", "icmp", 1)
	if _, stderr := o.run(0, "", "apply", "-f", o.file(closed)); strings.Contains(stderr, "?") || !strings.Contains(stderr, "lose reachability") {
		t.Errorf("asked for what is lost: %s", stderr)
	}
	o.run(0, "", "apply", "-f", open, "--yes")
}

func TestDeletionsAreAskedForOnATerminal(t *testing.T) {
	t.Parallel()
	o := startedOperator(t)
	o.run(0, "y\n", "apply", "-f", "../../manifests/examples")
	_, stderr := o.run(1, "n\n", "delete", "gn", "--all")
	if !strings.Contains(stderr, "Delete 2 resources (generalnode/cam1, …)? [y/N]") {
		t.Error(stderr)
	}
	o.run(0, "", "get", "gn", "cam1")
	o.run(0, "y\n", "delete", "gn", "--all")
	o.run(4, "", "get", "gn", "cam1")
	member := "{apiVersion: cyphonic/v1, kind: Node, metadata: {name: %s}, spec: {network: factory}}\n"
	o.run(0, "", "apply", "-f", o.file(fmt.Sprintf(member+"---\n"+member, "a", "b")), "--applyset", "s")
	less := o.file(fmt.Sprintf(member, "a"))
	_, stderr = o.run(1, "n\n", "apply", "-f", less, "--applyset", "s", "--prune")
	if !strings.Contains(stderr, "node/b would be pruned") || !strings.Contains(stderr, "Delete 1 resource and apply the rest? [y/N]") {
		t.Error(stderr)
	}
	o.run(0, "y\n", "apply", "-f", less, "--applyset", "s", "--prune")
	o.run(4, "", "get", "node", "b")
}

func mustRead(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A folder of a thousand resources is applied, found unchanged, and changed within the promised time.
func TestApplyOfAThousandResources(t *testing.T) {
	o := startedOperator(t)
	var text strings.Builder
	text.WriteString(mustRead(t, "../../manifests/examples/network.yaml"))
	for i := range 10 {
		fmt.Fprintf(&text, "---\n{apiVersion: cyphonic/v1, kind: Adapter, metadata: {name: a%d}, spec: {network: factory}}\n", i)
	}
	for i := range 989 {
		fmt.Fprintf(&text, "---\n{apiVersion: cyphonic/v1, kind: GeneralNode, metadata: {name: g%d, labels: {role: camera}}, spec: {network: factory, adapter: a%d, mac: \"02:00:00:00:%02x:%02x\"}}\n", i, i%10, i/256, i%256)
	}
	file := o.file(text.String())
	steps := []struct{ verdict, file string }{{"created", file}, {"unchanged", file}, {"configured", o.file(strings.ReplaceAll(text.String(), "role: camera", "role: printer"))}}
	for _, step := range steps {
		began := time.Now()
		stdout, _ := o.run(0, "", "apply", "-f", step.file, "--yes")
		took := time.Since(began)
		if n := strings.Count(stdout, " "+step.verdict+"\n"); n < 989 {
			t.Errorf("%d %s", n, step.verdict)
		}
		t.Logf("1,000 resources %s in %s", step.verdict, took)
		if took > 30*time.Second { // the promise is 5 s on an idle machine
			t.Errorf("%s took %s", step.verdict, took)
		}
	}
}
