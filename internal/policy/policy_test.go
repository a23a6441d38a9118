package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

func camera() Subject {
	return Subject{Kind: "GeneralNode", Name: "cam1", Network: "home", Labels: map[string]string{"role": "camera", "floor": "1"}, Assurance: identity.AssuranceMAC}
}

func viewer() Subject {
	return Subject{Kind: "Node", Name: "viewer", Network: "home", Labels: map[string]string{"role": "viewer"}, Assurance: identity.AssuranceKey}
}

func rule(protocol api.Protocol, ports ...string) []api.PolicyRule {
	return []api.PolicyRule{{Protocol: protocol, Ports: ports}}
}

func policyOf(from, to []api.Selector, minimum string, rules []api.PolicyRule) *api.AccessPolicy {
	return &api.AccessPolicy{
		Metadata: api.ObjectMeta{Name: "p"},
		Spec:     api.AccessPolicySpec{Network: "home", From: from, To: to, Rules: rules, MinimumAssurance: minimum},
	}
}

func TestEvaluate(t *testing.T) {
	all := []api.Selector{{}}
	viewers := []api.Selector{{MatchLabels: map[string]string{"role": "viewer"}}}
	cameras := []api.Selector{{Kinds: []string{"GeneralNode"}}}
	cam1 := []api.Selector{{Names: []string{"cam1"}, Kinds: []string{"GeneralNode", "Node"}}}
	out := func(protocol uint8, low, high uint16) wire.Rule {
		return wire.Rule{Protocol: protocol, PortLow: low, PortHigh: high}
	}
	in := func(protocol uint8, low, high uint16) wire.Rule {
		return wire.Rule{Inbound: true, Protocol: protocol, PortLow: low, PortHigh: high}
	}
	foreign := viewer()
	foreign.Network = "other"

	cases := []struct {
		name     string
		policies []*api.AccessPolicy
		a, b     Subject
		want     []wire.Rule
	}{
		{"no policy denies", nil, viewer(), camera(), nil},
		{"by label to kind", []*api.AccessPolicy{policyOf(viewers, cameras, "", rule("tcp", "80"))}, viewer(), camera(), []wire.Rule{out(6, 80, 80)}},
		{"the other side sees it inbound", []*api.AccessPolicy{policyOf(viewers, cameras, "", rule("tcp", "80"))}, camera(), viewer(), []wire.Rule{in(6, 80, 80)}},
		{"by name and kind", []*api.AccessPolicy{policyOf(cam1, viewers, "", rule("udp", "5000-5010"))}, camera(), viewer(), []wire.Rule{out(17, 5000, 5010)}},
		{"name matches, kind does not", []*api.AccessPolicy{policyOf([]api.Selector{{Names: []string{"cam1"}, Kinds: []string{"Node"}}}, all, "", rule("any"))}, camera(), viewer(), nil},
		{"one of two labels is not enough", []*api.AccessPolicy{policyOf([]api.Selector{{MatchLabels: map[string]string{"role": "camera", "floor": "2"}}}, all, "", rule("any"))}, camera(), viewer(), nil},
		{"any selector of a list is enough", []*api.AccessPolicy{policyOf(append([]api.Selector{{Names: []string{"x"}}}, viewers...), all, "", rule("icmp"))}, viewer(), camera(), []wire.Rule{out(1, 0, 65535)}},
		{"empty from matches nobody", []*api.AccessPolicy{policyOf(nil, all, "", rule("any"))}, viewer(), camera(), nil},
		{"empty to matches nobody", []*api.AccessPolicy{policyOf(all, nil, "", rule("any"))}, viewer(), camera(), nil},
		{"no rules allow nothing", []*api.AccessPolicy{policyOf(all, all, "", nil)}, viewer(), camera(), nil},
		{"empty selectors match both ways", []*api.AccessPolicy{policyOf(all, all, "", rule("any"))}, viewer(), camera(), []wire.Rule{out(0, 0, 65535), in(0, 0, 65535)}},
		{"another network", []*api.AccessPolicy{policyOf(all, all, "", rule("any"))}, foreign, camera(), nil},
		{"both in a network without policies", []*api.AccessPolicy{policyOf(all, all, "", rule("any"))}, foreign, foreign, nil},
		{"source has the minimum assurance", []*api.AccessPolicy{policyOf(viewers, cameras, "dot1x", rule("tcp", "80"))}, viewer(), camera(), []wire.Rule{out(6, 80, 80)}},
		{"source is below the minimum assurance", []*api.AccessPolicy{policyOf(cameras, viewers, "basic", rule("tcp", "80"))}, camera(), viewer(), nil},
		{"only the source's assurance counts", []*api.AccessPolicy{policyOf(all, all, "basic", rule("tcp", "80"))}, camera(), viewer(), []wire.Rule{in(6, 80, 80)}},
		{
			"policies add up",
			[]*api.AccessPolicy{policyOf(all, all, "", rule("tcp", "81")), policyOf(viewers, all, "", rule("tcp", "80", "8000-8100"))},
			viewer(), camera(),
			[]wire.Rule{out(6, 80, 81), out(6, 8000, 8100), in(6, 81, 81)},
		},
		{"any protocol swallows the rest", []*api.AccessPolicy{policyOf(viewers, all, "", append(rule("tcp", "80"), rule("any")...))}, viewer(), camera(), []wire.Rule{out(0, 0, 65535)}},
		{"overlapping and repeated ports join", []*api.AccessPolicy{policyOf(viewers, all, "", rule("udp", "10-20", "15-30", "10-20", "31", "65535"))}, viewer(), camera(), []wire.Rule{out(17, 10, 31), out(17, 65535, 65535)}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			set, errs := Compile(c.policies)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			got, truncated := set.Evaluate(c.a, c.b)
			if diff := cmp.Diff(c.want, got); diff != "" || truncated {
				t.Errorf("truncated %v, rules (-want +got):\n%s", truncated, diff)
			}
		})
	}
	var none *Set
	if rules, _ := none.Evaluate(viewer(), camera()); rules != nil {
		t.Error("no set allows something")
	}
}

func TestCompileLeavesOutWhatItCannotRead(t *testing.T) {
	all := []api.Selector{{}}
	bad := map[string]*api.AccessPolicy{
		"assurance": policyOf(all, all, "strong", rule("any")),
		"protocol":  policyOf(all, all, "", rule("sctp")),
		"port":      policyOf(all, all, "", rule("tcp", "80x")),
		"port zero": policyOf(all, all, "", rule("tcp", "0")),
		"big port":  policyOf(all, all, "", rule("tcp", "65536")),
		"reversed":  policyOf(all, all, "", rule("tcp", "9-8")),
		"any ports": policyOf(all, all, "", rule("any", "80")),
	}
	for name, p := range bad {
		set, errs := Compile([]*api.AccessPolicy{p})
		if len(errs) != 1 {
			t.Errorf("%s: errors %v", name, errs)
		}
		if rules, _ := set.Evaluate(viewer(), camera()); len(rules) > 0 {
			t.Errorf("%s: allows %v", name, rules)
		}
	}
}

func TestTooManyRulesAreCutAndDenied(t *testing.T) {
	var ports []string
	for i := range 2 * wire.MaxRules {
		ports = append(ports, fmt.Sprint(10*i+1))
	}
	set, _ := Compile([]*api.AccessPolicy{policyOf([]api.Selector{{}}, []api.Selector{{Names: []string{"cam1"}}}, "", rule("tcp", ports...))})
	rules, truncated := set.Evaluate(viewer(), camera())
	if len(rules) != wire.MaxRules || !truncated {
		t.Errorf("%d rules, truncated %v", len(rules), truncated)
	}
}

// Whatever the policies: both sides see the same rules mirrored, each rule has
// a policy that gives it, and nothing a policy gives is missing.
func TestEvaluateIsSymmetricAndExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ports := rapid.SliceOfN(rapid.Uint16Range(1, 60), 0, 6)
		texts := func(in []uint16) (out []string) {
			for _, p := range in {
				out = append(out, fmt.Sprint(p))
			}
			return out
		}
		forward, back := ports.Draw(t, "forward"), ports.Draw(t, "back")
		var policies []*api.AccessPolicy
		viewers, cameras := []api.Selector{{Names: []string{"viewer"}}}, []api.Selector{{Names: []string{"cam1"}}}
		if len(forward) > 0 {
			policies = append(policies, policyOf(viewers, cameras, "", rule("tcp", texts(forward)...)))
		}
		if len(back) > 0 {
			policies = append(policies, policyOf(cameras, viewers, "", rule("tcp", texts(back)...)))
		}
		set, errs := Compile(policies)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		ab, _ := set.Evaluate(viewer(), camera())
		ba, _ := set.Evaluate(camera(), viewer())
		covered := func(rules []wire.Rule, inbound bool, port uint16) bool {
			for _, r := range rules {
				if r.Inbound == inbound && r.Protocol == 6 && r.PortLow <= port && port <= r.PortHigh {
					return true
				}
			}
			return false
		}
		for port := uint16(1); port < 62; port++ {
			want := strings.Contains(","+strings.Join(texts(forward), ",")+",", fmt.Sprintf(",%d,", port))
			if covered(ab, false, port) != want || covered(ba, true, port) != want || covered(Mirror(ba), false, port) != want {
				t.Fatalf("port %d: want %v, rules %v and %v", port, want, ab, ba)
			}
		}
	})
}

func TestThePoliciesOfANetworkAreReplaced(t *testing.T) {
	all := []api.Selector{{}}
	first, errs := Compile([]*api.AccessPolicy{policyOf(all, all, "", rule("tcp", "80"))})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	allowed := func(s *Set) string {
		rules, _ := s.Evaluate(viewer(), camera())
		return fmt.Sprint(rules)
	}
	before := allowed(first)
	second, errs := first.Replace(viewer().Network, []*api.AccessPolicy{policyOf(all, all, "", rule("udp", "53")), policyOf(all, all, "strong", rule("any"))})
	want, _ := Compile([]*api.AccessPolicy{policyOf(all, all, "", rule("udp", "53"))})
	if len(errs) != 1 || allowed(second) != allowed(want) || allowed(second) == before {
		t.Errorf("%s after the policies were replaced, %v", allowed(second), errs)
	}
	if elsewhere, _ := second.Replace("elsewhere", nil); allowed(elsewhere) != allowed(second) {
		t.Error("another network's policies changed these")
	}
	if none, _ := second.Replace(viewer().Network, nil); allowed(none) != allowed(new(Set)) {
		t.Error("withdrawn policies allow something")
	}
	if allowed(first) != before {
		t.Error("the first set changed")
	}
}
