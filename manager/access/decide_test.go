package access

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

func user(name string, groups ...string) Principal {
	return Principal{Kind: User, Name: name, Groups: groups}
}

func TestTheVerbsAndKindsOfRulesAreThoseOfTheAPI(t *testing.T) {
	var verbs []string
	for _, v := range Verbs() {
		verbs = append(verbs, string(v))
	}
	if !slices.Equal(verbs, api.Verbs()) {
		t.Errorf("%v, the API has %v", verbs, api.Verbs())
	}
	if kinds := []string{KindAudit, KindBackup, KindRestore, KindMetrics, KindPlan, KindReachability}; !slices.Equal(kinds, api.PseudoKinds()) {
		t.Errorf("%v, the API has %v", kinds, api.PseudoKinds())
	}
}

// plant writes the roles and bindings of the tests below.
func (w *world) plant() {
	w.put(role("viewer", rule(words("get", "list", "watch"), words("*"))))
	w.put(role("editor", rule(words("*"), words("Node", "GeneralNode"), "hall", "yard"), rule(words("get"), words("Network"))))
	w.put(role("admin", rule(words("*"), words("*"))))
	w.put(binding("viewers", "viewer", nil, api.Subject{Kind: "Group", Name: "staff"}))
	w.put(binding("hall", "editor", words("hall", "moon"), api.Subject{Kind: "User", Name: "alice"}))
	w.put(binding("all", "editor", nil, api.Subject{Kind: "Token", Name: "ci"}, api.Subject{Kind: "Certificate", Name: "backup.example.org"}))
	w.put(binding("inert", "no-such-role", nil, api.Subject{Kind: "User", Name: "eve"}))
	w.put(binding("apart", "editor", words("moon"), api.Subject{Kind: "User", Name: "mona"}))
	w.token("own", time.Now().Add(time.Hour), rule(words("create"), words("Plan")))
	w.fresh()
}

func TestDecisions(t *testing.T) {
	w := newWorld(t, nil)
	w.plant()
	for _, c := range []struct {
		name    string
		who     Principal
		verb    Verb
		kind    string
		network string
		want    bool
	}{
		{"administrator", Principal{Kind: Admin}, Delete, KindBackup, "", true},
		{"the manager itself", ForSystem("deletion"), Delete, "Node", "hall", true},
		{"nobody", Principal{}, Get, "Node", "hall", false},
		{"adapter", Principal{Kind: Adapter, Name: "viewer"}, Get, "Node", "hall", false},
		{"a user who has the name of a role", user("viewer"), Get, "Node", "hall", false},
		{"by group", user("bob", "other", "staff"), Get, "Node", "hall", true},
		{"by group, resource of the whole system", user("bob", "staff"), List, "Role", "", true},
		{"by group, verb that the role has not", user("bob", "staff"), Update, "Node", "hall", false},
		{"a group of a user is no user", user("staff"), Get, "Node", "hall", false},
		{"a token of the name of a group", Principal{Kind: Token, Name: "staff", Groups: words("staff")}, Get, "Node", "hall", false},
		{"in the network of the binding", user("alice"), Update, "Node", "hall", true},
		{"in a network of the role that the binding leaves out", user("alice"), Update, "Node", "yard", false},
		{"in a network of the binding that the role leaves out", user("alice"), Update, "Node", "moon", false},
		{"of the whole system with a narrowed binding", user("alice"), Update, "Node", "", false},
		{"a rule for all networks, narrowed", user("alice"), Get, "Network", "moon", true},
		{"a rule for all networks, narrowed, elsewhere", user("alice"), Get, "Network", "yard", false},
		{"a kind that the role leaves out", user("alice"), Update, "Adapter", "hall", false},
		{"token, not narrowed", Principal{Kind: Token, Name: "ci"}, Patch, "GeneralNode", "yard", true},
		{"certificate", Principal{Kind: Certificate, Name: "backup.example.org"}, Report, "Node", "hall", true},
		{"certificate of another name", Principal{Kind: Certificate, Name: "backup.example.com"}, Report, "Node", "hall", false},
		{"role that does not exist", user("eve"), Get, "Node", "hall", false},
		{"role and binding speak of different networks", user("mona"), Get, "Node", "moon", false},
		{"a token's own rules", Principal{Kind: Token, Name: "own"}, Create, KindPlan, "", true},
		{"beyond a token's own rules", Principal{Kind: Token, Name: "own"}, Get, "Node", "hall", false},
		{"git source with a role", ForGitSource("fleet", "editor"), Create, "Node", "yard", true},
		{"git source beyond its role", ForGitSource("fleet", "editor"), Create, "Node", "moon", false},
		{"git source with a role that does not exist", ForGitSource("fleet", "gone"), Get, "Node", "hall", false},
	} {
		d := w.Decide(c.who, Target{Verb: c.verb, Kind: c.kind, Network: c.network})
		if d.Allowed != c.want || d.Reason == "" {
			t.Errorf("%s: %+v", c.name, d)
		}
		everywhere, in := w.Networks(c.who, c.verb, c.kind)
		if (everywhere || in(c.network)) != c.want {
			t.Errorf("%s: Networks differs from Decide", c.name)
		}
		if c.want && !w.MayAny(c.who, c.verb, c.kind) {
			t.Errorf("%s: may, but MayAny says no", c.name)
		}
	}
	if w.MayAny(user("mona"), Get, "Node") || !w.MayAny(user("alice"), Get, "Node") {
		t.Error("MayAny does not see what a binding leaves of a role")
	}
	if got := fmt.Sprint(w.RolesOf(user("alice", "staff"))); got != "[editor viewer]" {
		t.Errorf("roles: %s", got)
	}
}

func TestRightsChangeWithTheCache(t *testing.T) {
	w := newWorld(t, nil)
	w.plant()
	may := func() bool {
		w.fresh()
		return w.Decide(user("alice"), Target{Verb: Update, Kind: "Node", Network: "hall"}).Allowed
	}
	version := w.Version()
	if !may() || w.Version() != version {
		t.Fatal("nothing has changed")
	}
	n := &api.Node{}
	n.Metadata.Name = "n"
	w.put(n)
	if !may() || w.Version() != version {
		t.Error("a node changed the rights")
	}
	w.put(role("editor", rule(words("get"), words("Node"))))
	if may() || w.Version() == version {
		t.Error("the role lost the verb, the user did not")
	}
	w.put(role("editor", rule(words("*"), words("*"))))
	if !may() {
		t.Error("the role has the verb again")
	}
	w.remove("rolebindings", "hall")
	if may() {
		t.Error("the binding is gone, the right is not")
	}
	w.put(binding("hall", "editor", nil, api.Subject{Kind: "User", Name: "alice"}))
	w.remove("roles", "editor")
	if may() {
		t.Error("the role is gone, the right is not")
	}
}

func TestNobodyGivesAwayMoreThanTheyHave(t *testing.T) {
	w := newWorld(t, nil)
	w.plant()
	w.put(role("keeper", rule(words("*"), words("Role", "RoleBinding", "APIToken", "GitSource")), rule(words("get"), words("Node"), "hall")))
	w.put(binding("keeper", "keeper", nil, api.Subject{Kind: "User", Name: "kim"}))
	w.put(binding("waiting", "admin", nil, api.Subject{Kind: "Token", Name: "not-yet"}))
	w.fresh()
	kim := user("kim")
	token := func(name string, rules ...api.RoleRule) *api.APIToken {
		o := &api.APIToken{}
		o.Metadata.Name, o.Spec.Rules = name, rules
		return o
	}
	source := func(role string) *api.GitSource {
		o := &api.GitSource{}
		o.Spec.Role = role
		return o
	}
	alice := api.Subject{Kind: "User", Name: "alice"}
	for _, c := range []struct {
		name    string
		object  api.Object
		missing string // empty: covered
	}{
		{"role with own rights", role("r", rule(words("get"), words("Node"), "hall"), rule(words("delete"), words("Role"))), ""},
		{"role in another network", role("r", rule(words("get"), words("Node"), "yard")), `get on Node in network "yard"`},
		{"role in all networks", role("r", rule(words("get"), words("Node"))), "get on Node in all networks"},
		{"role in a list with all networks", role("r", rule(words("get"), words("Node"), "hall", "*")), "in all networks"},
		{"role with another verb", role("r", rule(words("get", "update"), words("Node"), "hall")), `update on Node`},
		{"role with all verbs", role("r", rule(words("*"), words("Node"), "hall")), `list on Node`},
		{"role with all kinds", role("r", rule(words("get"), words("*"), "hall")), "all kinds"},
		{"binding to the own role", binding("b", "keeper", nil, alice), ""},
		{"binding to a stronger role", binding("b", "viewer", nil, alice), "all kinds"},
		{"binding narrowed to what one has", binding("b", "node-reader", words("hall"), alice), ""},
		{"binding to a role that does not exist", binding("b", "nothing", nil, alice), "all kinds"},
		{"token with own rights", token("t", rule(words("get"), words("Node"), "hall")), ""},
		{"token with more", token("t", rule(words("list"), words("Node"), "hall")), "list on Node"},
		{"token without rules", token("t"), ""},
		{"token that a binding waits for", token("not-yet"), "all kinds"},
		{"git source with a stronger role", source("admin"), "all kinds"},
		{"git source with the own role", source("keeper"), ""},
		{"other kinds", &api.Node{}, ""},
	} {
		if strings.Contains(c.name, "narrowed") {
			w.put(role("node-reader", rule(words("get"), words("Node"))))
			w.fresh()
		}
		ok, missing := w.CoversObject(kim, c.object)
		if ok != (c.missing == "") || !strings.Contains(missing, c.missing) {
			t.Errorf("%s: %v %q", c.name, ok, missing)
		}
		if ok, _ := w.CoversObject(Principal{Kind: Admin}, c.object); !ok {
			t.Errorf("%s: refused to the administrator", c.name)
		}
	}
	if ok, _ := w.CoversObject(user("stranger"), role("r", rule(words("get"), words("Node"), "hall"))); ok {
		t.Error("somebody without rights gave one away")
	}
}

func TestNetworkOf(t *testing.T) {
	node := &api.Node{Spec: api.NodeSpec{Network: "hall"}}
	lookup := func(kind, name string) (api.Object, bool) { return node, kind == "Node" && name == "n" }
	for want, o := range map[string]api.Object{
		"home": &api.Network{Metadata: api.ObjectMeta{Name: "home"}},
		"hall": &api.EnrollmentToken{Spec: api.EnrollmentTokenSpec{SubjectKind: "Node", SubjectName: "n"}},
		"yard": &api.GeneralNode{Spec: api.GeneralNodeSpec{Network: "yard"}},
		"moon": &api.AccessPolicy{Spec: api.AccessPolicySpec{Network: "moon"}},
		"mars": &api.Event{Network: "mars"},
		"gate": &api.Adapter{Spec: api.AdapterSpec{Network: "gate"}},
		"":     &api.EnrollmentToken{Spec: api.EnrollmentTokenSpec{SubjectKind: "Adapter", SubjectName: "n"}},
	} {
		if got := NetworkOf(o, lookup); got != want {
			t.Errorf("%T: %q, want %q", o, got, want)
		}
	}
	for _, kind := range api.Kinds() {
		o := kind.New()
		o.Meta().Name = "name"
		if got := NetworkOf(o, nil); got != "" && kind.Name != "Network" {
			t.Errorf("%s without a network is in %q", kind.Name, got)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	w := newWorld(b, nil)
	for i := range 200 {
		w.put(role(fmt.Sprintf("role-%d", i), rule(words("get", "list"), words("Node", "GeneralNode"), fmt.Sprintf("net-%d", i))))
		w.put(binding(fmt.Sprintf("binding-%d", i), fmt.Sprintf("role-%d", i), nil,
			api.Subject{Kind: "User", Name: "alice"}, api.Subject{Kind: "Group", Name: fmt.Sprintf("group-%d", i)}))
	}
	w.fresh()
	target := Target{Verb: Get, Kind: "Node", Network: "net-150"}
	for name, who := range map[string]Principal{"user": user("alice"), "16 groups": user("bob", groupNames(16)...), "admin": {Kind: Admin}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !w.Decide(who, target).Allowed {
					b.Fatal("denied")
				}
			}
		})
	}
}

func groupNames(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("group-%d", 135+i))
	}
	return out
}
