package gitsync

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/applyset"
)

const networkText = "{apiVersion: cyphonic/v1, kind: Network, metadata: {name: factory}, spec: {ipv4Prefix: 10.9.0.0/16, ipv6Prefix: \"fd00:9::/64\", domain: factory.example.internal}}\n"

func nodeText(name string) string {
	return fmt.Sprintf("apiVersion: cyphonic/v1\nkind: Node\nmetadata:\n  name: %s\nspec:\n  network: factory\n", name)
}

// begin makes a world whose repository has a network and some nodes in sync.
func begin(t *testing.T, more string, nodes ...string) (*world, string) {
	t.Helper()
	w := newWorld(t)
	w.git.Write("network.yaml", networkText)
	for _, name := range nodes {
		w.git.Write("nodes/"+name+".yaml", nodeText(name))
	}
	commit := w.git.Commit()
	w.source(more)
	w.run()
	w.synced(commit)
	return w, commit
}

func TestACommitIsApplied(t *testing.T) {
	w := newWorld(t)
	w.git.Write("README.md", "no manifest")
	w.git.Write(".github/workflows/ci.yaml", "on: push")
	w.git.Write("fleet/a-devices.yaml", nodeText("viewer")+"---\n"+
		"{apiVersion: cyphonic/v1, kind: GeneralNode, metadata: {name: cam1, labels: {role: camera}}, spec: {network: factory, adapter: hall-1, mac: \"02:00:00:00:00:01\"}}\n")
	w.git.Write("fleet/b-adapter.yaml", "{apiVersion: cyphonic/v1, kind: Adapter, metadata: {name: hall-1}, spec: {network: factory}}\n")
	w.git.Write("fleet/z/network.yaml", networkText)
	commit := w.git.Commit()
	w.source(", path: fleet")
	w.run()
	s := w.synced(commit)
	if s.Resources != 4 || len(s.Failures) != 0 || s.ObservedCommit != commit {
		t.Errorf("%s", show(s))
	}
	for _, kind := range []string{"Fetched", "Valid", "Applied", "InSync"} {
		if !is(s, kind, api.ConditionStatusTrue) {
			t.Errorf("%s is not true: %s", kind, show(s))
		}
	}
	if s.Drifted != 1 {
		t.Errorf("a general node that no adapter has seen: drifted is %d", s.Drifted)
	}
	cam := w.get("GeneralNode", "cam1")
	if cam.Meta().Labels[applyset.Label] != "git-fleet" || cam.Meta().Labels["role"] != "camera" {
		t.Errorf("labels %v", cam.Meta().Labels)
	}
	if m := cam.Meta().ManagedFields; len(m) != 1 || m[0].Manager != "gitsource/fleet" || m[0].Operation != api.ManagedOperationApply {
		t.Errorf("managed fields %+v", m)
	}
	w.rounds(3)
	if again := w.get("GeneralNode", "cam1"); again.Meta().ResourceVersion != cam.Meta().ResourceVersion {
		t.Errorf("a round without changes wrote %s to %s", cam.Meta().ResourceVersion, again.Meta().ResourceVersion)
	}
	g := cam.(*api.GeneralNode)
	g.Status.ObservedGeneration, g.Status.Phase = g.Metadata.Generation, api.DevicePhaseUp
	g.Metadata = api.ObjectMeta{Name: "cam1"}
	if _, err := w.admin.PutStatus(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	w.wait("not drifted any more", func(s api.GitSourceStatus) bool { return s.Drifted == 0 })
}

func TestABadCommitIsNotAppliedAtAll(t *testing.T) {
	cases := []struct {
		name, file, content, reason, pointer string
		line                                 int
	}{
		{"syntax", "bad.yaml", "a: b\n\t- c\n", "InvalidManifests", "", 2},
		{"unknown field", "bad.yaml", nodeText("bad") + "  colour: red\n", "InvalidManifests", "/spec/colour", 7},
		{"invalid value", "bad.yaml", strings.Replace(nodeText("bad"), "name: bad", "name: Not_A_Name", 1), "InvalidManifests", "/metadata/name", 4},
		{"missing reference", "bad.yaml", strings.Replace(nodeText("bad"), "factory", "nowhere", 1), "Refused", "/spec/network", 6},
		{"the same resource twice", "nodes/zz.yaml", nodeText("viewer"), "InvalidManifests", "/metadata/name", 4},
		{"a token", "bad.yaml", "{apiVersion: cyphonic/v1, kind: EnrollmentToken, metadata: {name: t}, spec: {subjectKind: Node, subjectName: viewer}}", "InvalidManifests", "/kind", 1},
		{"a fixed field", "network.yaml", strings.Replace(networkText, "10.9.0.0", "10.8.0.0", 1), "Refused", "/spec/ipv4Prefix", 1},
		{"kept with LFS", "bad.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "InvalidManifests", "", 0},
	}
	w, good := begin(t, "", "viewer")
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			w.git.Write("another.yaml", nodeText("another"))
			w.git.Write(k.file, k.content)
			bad := w.git.Commit()
			s := w.refused(bad, "Valid", k.reason)
			if s.AppliedCommit != good || len(s.Failures) != 1 {
				t.Fatalf("%s", show(s))
			}
			if f := s.Failures[0]; f.File != k.file || f.Pointer != k.pointer || f.Line != k.line || f.Message == "" {
				t.Errorf("the failure is %+v", f)
			}
			if !w.absent("Node", "another") {
				t.Error("a part of the commit was applied")
			}
			if is(s, "InSync", api.ConditionStatusTrue) || !is(s, "Applied", api.ConditionStatusTrue) {
				t.Errorf("%s", show(s))
			}
			w.git.Remove("another.yaml")
			w.git.Remove("bad.yaml")
			w.git.Remove("nodes/zz.yaml")
			w.git.Write("network.yaml", networkText)
			good = w.git.Commit()
			w.synced(good)
		})
	}
}

func TestTheRightsAreThoseOfTheRole(t *testing.T) {
	w := newWorld(t)
	w.create(`{kind: Network, metadata: {name: factory}, spec: {ipv4Prefix: 10.9.0.0/16, ipv6Prefix: "fd00:9::/64", domain: factory.example.internal}}`)
	w.create(`{kind: Role, metadata: {name: nodes-only}, spec: {rules: [{verbs: [get, list, create, update, patch, delete], kinds: [Node]}, {verbs: ["*"], kinds: [Plan]}]}}`)
	w.git.Write("a.yaml", nodeText("a"))
	first := w.git.Commit()
	w.source("")
	source := w.get("GitSource", "fleet").(*api.GitSource)
	source.Spec.Role = "nodes-only"
	if _, _, err := w.admin.Replace(t.Context(), source, client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.synced(first)
	w.git.Write("b.yaml", nodeText("b"))
	w.git.Write("c.yaml", "{apiVersion: cyphonic/v1, kind: Adapter, metadata: {name: hall-1}, spec: {network: factory}}\n")
	second := w.git.Commit()
	s := w.refused(second, "Valid", "Refused")
	if len(s.Failures) != 1 || s.Failures[0].File != "c.yaml" || !w.absent("Node", "b") || !w.absent("Adapter", "hall-1") {
		t.Errorf("%s", show(s))
	}
}

func TestAForcePushIsApplied(t *testing.T) {
	w, _ := begin(t, "", "a")
	w.git.Write("nodes/a.yaml", nodeText("a")+"  disabled: true\n")
	rewritten := w.git.Rewrite()
	w.synced(rewritten)
	if !w.get("Node", "a").(*api.Node).Spec.Disabled {
		t.Error("the rewritten commit is not applied")
	}
}

func TestWhatLeavesGitIsDeleted(t *testing.T) {
	w, _ := begin(t, "", "a", "b", "c")
	b := w.get("Node", "b")
	b.Meta().Annotations = map[string]string{applyset.PruneKey: applyset.PruneDisabled}
	if _, _, err := w.admin.Replace(t.Context(), b, client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.create(`{kind: Node, metadata: {name: other}, spec: {network: factory}}`)
	w.git.Remove("nodes")
	w.synced(w.git.Commit())
	for name, gone := range map[string]bool{"a": true, "b": false, "c": true, "other": false} {
		if w.absent("Node", name) != gone {
			t.Errorf("node %s: absent %v", name, !gone)
		}
	}
	w.git.Remove("network.yaml")
	s := w.refused(w.git.Commit(), "Valid", "InvalidManifests")
	if len(s.Failures) != 1 || w.absent("Network", "factory") {
		t.Errorf("an empty commit: %s", show(s))
	}
}

func TestWhatIsKeptStays(t *testing.T) {
	w, _ := begin(t, ", keepRemoved: true", "a")
	w.git.Remove("nodes")
	w.synced(w.git.Commit())
	if w.absent("Node", "a") {
		t.Error("keepRemoved deletes")
	}
}

func TestTooManyDeletionsAreRefused(t *testing.T) {
	w, good := begin(t, ", maxDeletions: 2", "a", "b", "c")
	w.git.Remove("nodes")
	w.git.Write("d.yaml", nodeText("d"))
	bad := w.git.Commit()
	s := w.refused(bad, "Applied", "TooManyDeletions")
	if s.AppliedCommit != good || !w.absent("Node", "d") || w.absent("Node", "a") {
		t.Errorf("%s", show(s))
	}
	w.source(", maxDeletions: 3")
	w.synced(bad)
	if !w.absent("Node", "a") || w.absent("Node", "d") {
		t.Error("the raised guard does not let it through")
	}
}

func TestCredentialsAreReadAnew(t *testing.T) {
	w, _ := begin(t, "", "a")
	w.git.SetPassword("rotated-secret-1")
	w.wait("credentials refused", func(s api.GitSourceStatus) bool {
		return conditionOf(s, "Fetched").Reason == "CredentialsFailed" && is(s, "Fetched", api.ConditionStatusFalse)
	})
	if err := os.WriteFile(filepath.Join(w.secrets, "fleet", "password"), []byte("rotated-secret-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.git.Write("nodes/b.yaml", nodeText("b"))
	s := w.synced(w.git.Commit())
	if strings.Contains(show(s), "rotated-secret") {
		t.Errorf("a secret is in the status: %s", show(s))
	}
}

func TestDriftIsCorrectedWhileTheServerIsAway(t *testing.T) {
	w, _ := begin(t, "", "b")
	w.git.Write("a.yaml", nodeText("a")+"  disabled: false\n")
	w.synced(w.git.Commit())
	w.git.SetAway(true)
	w.wait("the server is away", func(s api.GitSourceStatus) bool { return conditionOf(s, "Fetched").Reason == "Unreachable" })
	w.edit("a", func(n *api.Node) { n.Spec.Disabled = true })
	kind, _ := api.KindNamed("Node")
	w.eventually("a is enabled again", func() bool {
		return !w.get("Node", "a").(*api.Node).Spec.Disabled
	})
	if _, err := w.admin.Delete(t.Context(), kind, "a", client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("a is deleted and comes back", func() bool { return !w.absent("Node", "a") })
	w.git.SetAway(false)
	w.wait("the server is back", func(s api.GitSourceStatus) bool { return is(s, "InSync", api.ConditionStatusTrue) })
}

// edit changes a node as an operator does by hand.
func (w *world) edit(name string, change func(*api.Node)) {
	w.t.Helper()
	n := w.get("Node", name).(*api.Node)
	change(n)
	if _, _, err := w.admin.Replace(w.t.Context(), n, client.WriteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func TestDriftByHandIsCorrected(t *testing.T) {
	w := newWorld(t)
	w.git.Write("network.yaml", networkText)
	w.git.Write("a.yaml", nodeText("a")+"  disabled: false\n")
	w.git.Write("b.yaml", strings.Replace(nodeText("b"), "name: b", "name: b\n  labels: {hall: one}", 1))
	commit := w.git.Commit()
	w.source("")
	w.run()
	w.synced(commit)
	w.edit("a", func(n *api.Node) { n.Spec.Disabled = true })
	w.eventually("the field is as in git", func() bool { return !w.get("Node", "a").(*api.Node).Spec.Disabled })
	w.edit("b", func(n *api.Node) { n.Metadata.Labels["hall"] = "two" })
	w.eventually("the label is as in git", func() bool { return w.get("Node", "b").Meta().Labels["hall"] == "one" })
	w.edit("b", func(n *api.Node) { n.Metadata.Labels["note"] = "mine" })
	w.rounds(3)
	if w.get("Node", "b").Meta().Labels["note"] != "mine" {
		t.Error("git takes away what it does not speak of")
	}
}

func TestWhatAnotherApplyHasTakenIsReported(t *testing.T) {
	w := newWorld(t)
	w.git.Write("network.yaml", networkText)
	w.git.Write("a.yaml", strings.Replace(nodeText("a"), "name: a", "name: a\n  labels: {hall: one, row: one}", 1))
	commit := w.git.Commit()
	w.source("")
	w.run()
	w.synced(commit)
	kind, _ := api.KindNamed("Node")
	take := func(body string) {
		t.Helper()
		if _, _, err := w.admin.Apply(t.Context(), kind, "a", []byte(body), client.WriteOptions{FieldManager: "alice", Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	take(`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"a","labels":{"hall":"two","row":"two"}}}`)
	s := w.wait("the field is taken", func(s api.GitSourceStatus) bool { return conditionOf(s, "InSync").Reason == "FieldsTaken" })
	if len(s.Failures) != 2 || s.Failures[0].Pointer != "/metadata/labels/hall" || s.Failures[0].File != "a.yaml" || !strings.Contains(s.Failures[0].Message, "alice") || s.Drifted != 1 {
		t.Errorf("%s", show(s))
	}
	w.git.Write("b.yaml", nodeText("b"))
	commit = w.git.Commit()
	w.wait("other changes go on", func(s api.GitSourceStatus) bool { return s.AppliedCommit == commit })
	if w.get("Node", "a").Meta().Labels["hall"] != "two" || w.absent("Node", "b") {
		t.Error("the field was taken back, or the rest held up")
	}
	take(`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"a"}}`)
	w.synced(commit)
	if w.get("Node", "a").Meta().Labels["hall"] != "one" {
		t.Error("a field that was given back is not as in git")
	}
}

func TestSuspendedAndDeletedSourcesDoNothing(t *testing.T) {
	w, _ := begin(t, "", "a")
	w.source(", suspend: true")
	w.wait("suspended", func(s api.GitSourceStatus) bool { return conditionOf(s, "InSync").Reason == "Suspended" })
	requests := w.git.Requests()
	w.edit("a", func(n *api.Node) { n.Spec.Disabled = true })
	w.git.Write("nodes/b.yaml", nodeText("b"))
	commit := w.git.Commit()
	time.Sleep(500 * time.Millisecond) // five intervals in which nothing is to happen
	if w.git.Requests() != requests || !w.get("Node", "a").(*api.Node).Spec.Disabled {
		t.Error("a suspended source asks the server, or corrects")
	}
	w.source("")
	w.synced(commit)
	kind, _ := api.KindNamed("GitSource")
	if _, err := w.admin.Delete(t.Context(), kind, "fleet", client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the worker ends", func() bool { return w.absent("GitSource", "fleet") })
	if w.absent("Node", "a") || w.absent("Node", "b") {
		t.Error("deleting a source deletes resources")
	}
}
