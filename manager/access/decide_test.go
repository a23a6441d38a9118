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
	for _, c := range []struct {
		name    string
		rules   []api.RoleRule
		missing string // empty: covered
	}{
		{"own rights", []api.RoleRule{rule(words("get"), words("Node"), "hall"), rule(words("delete"), words("Role"))}, ""},
		{"another network", []api.RoleRule{rule(words("get"), words("Node"), "yard")}, `get on Node in network "yard"`},
		{"all networks", []api.RoleRule{rule(words("get"), words("Node"))}, "get on Node in all networks"},
		{"all networks in a list", []api.RoleRule{rule(words("get"), words("Node"), "hall", "*")}, "in all networks"},
		{"another verb", []api.RoleRule{rule(words("get", "update"), words("Node"), "hall")}, `update on Node`},
		{"all verbs", []api.RoleRule{rule(words("*"), words("Node"), "hall")}, `list on Node`},
		{"all kinds", []api.RoleRule{rule(words("get"), words("*"), "hall")}, "all kinds"},
		{"narrowed to what one has", Narrow([]api.RoleRule{rule(words("get"), words("Node"))}, words("hall")), ""},
		{"narrowed to what the rule has not", Narrow([]api.RoleRule{rule(words("*"), words("*"), "yard")}, words("hall")), ""},
		{"not narrowed", Narrow([]api.RoleRule{rule(words("get"), words("Node"))}, nil), "in all networks"},
		{"nothing", nil, ""},
	} {
		ok, missing := w.Covers(kim, c.rules)
		if ok != (c.missing == "") || !strings.Contains(missing, c.missing) {
			t.Errorf("%s: %v %q", c.name, ok, missing)
		}
		if ok, _ := w.Covers(Principal{Kind: Admin}, c.rules); !ok {
			t.Errorf("%s: refused to the administrator", c.name)
		}
		o := &api.APIToken{}
		o.Metadata.Name, o.Spec.Rules = "t", c.rules
		if ok, _ := w.CoversToken(kim, o); ok != (c.missing == "") {
			t.Errorf("%s: as rules of a token: %v", c.name, ok)
		}
		o.Metadata.Name = "not-yet" // a binding waits for it
		if ok, _ := w.CoversToken(kim, o); ok {
			t.Errorf("%s: as a token that a binding gives everything", c.name)
		}
	}
	if ok, _ := w.Covers(user("stranger"), []api.RoleRule{rule(words("get"), words("Node"), "hall")}); ok {
		t.Error("somebody without rights gave one away")
	}
}

func TestNarrowedRules(t *testing.T) {
	rule := func(networks ...string) api.RoleRule {
		return api.RoleRule{Verbs: []string{"get"}, Kinds: []string{"Node"}, Networks: networks}
	}
	cases := []struct {
		name     string
		rule     api.RoleRule
		networks []string
		want     []string // nil: the rule is gone
	}{
		{"no narrowing", rule("a"), nil, []string{"a"}},
		{"everywhere", rule(), []string{"a", "b"}, []string{"a", "b"}},
		{"wildcard", rule("*"), []string{"a"}, []string{"a"}},
		{"some of both", rule("a", "b"), []string{"b", "c"}, []string{"b"}},
		{"nothing in common", rule("a"), []string{"b"}, nil},
	}
	for _, c := range cases {
		got := Narrow([]api.RoleRule{c.rule}, c.networks)
		if c.want == nil && len(got) == 0 {
			continue
		}
		if len(got) != 1 || !slices.Equal(got[0].Networks, c.want) {
			t.Errorf("%s: %v", c.name, got)
		}
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
