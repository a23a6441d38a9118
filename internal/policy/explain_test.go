package policy

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestExplain(t *testing.T) {
	viewers := []api.Selector{{MatchLabels: map[string]string{"role": "viewer"}}}
	cameras := []api.Selector{{Kinds: []string{"GeneralNode"}, MatchLabels: map[string]string{"role": "camera"}}}
	foreign := viewer()
	foreign.Network = "other"
	cases := []struct {
		name     string
		policies []*api.AccessPolicy
		from, to Subject
		query    Query
		allowed  bool
		reasons  string
	}{
		{"allowed", []*api.AccessPolicy{policyOf(viewers, cameras, "key", rule("tcp", "80"))}, viewer(), camera(), Query{"tcp", 80}, true, "p: allows tcp/80"},
		{"any flow", []*api.AccessPolicy{policyOf(viewers, cameras, "", rule("tcp", "80"))}, viewer(), camera(), Query{}, true, "p: allows tcp/80"},
		{"any protocol", []*api.AccessPolicy{policyOf(viewers, cameras, "", rule("any"))}, viewer(), camera(), Query{"udp", 9}, true, "p: allows any"},
		{
			"another port",
			[]*api.AccessPolicy{policyOf(viewers, cameras, "", rule("tcp", "80", "443"))},
			viewer(), camera(),
			Query{"tcp", 81},
			false,
			"none of the 1 access policies of network home allows it|p: allows tcp/80, tcp/443 only, not tcp/81",
		},
		{"another protocol", []*api.AccessPolicy{policyOf(viewers, cameras, "", rule("tcp", "80"))}, viewer(), camera(), Query{"icmp", 0}, false, "none of|p: allows tcp/80 only, not icmp"},
		{"too weak", []*api.AccessPolicy{policyOf(cameras, viewers, "dot1x", rule("any"))}, camera(), viewer(), Query{}, false, "none of|p: needs generalnode/cam1 to be authenticated by dot1x at least; it is by mac"},
		{"the other direction", []*api.AccessPolicy{policyOf(viewers, cameras, "", rule("tcp", "80"))}, camera(), viewer(), Query{}, false, "none of|p: allows tcp/80 from node/viewer to generalnode/cam1, which is the other direction"},
		{
			"another label",
			[]*api.AccessPolicy{policyOf(viewers, []api.Selector{{MatchLabels: map[string]string{"role": "printer", "floor": "1", "wing": "e"}}}, "", rule("any"))},
			viewer(), camera(),
			Query{},
			false,
			"none of|p: does not select generalnode/cam1 as a destination: label role is camera, must be printer, label wing is missing, must be e",
		},
		{"another kind and name", []*api.AccessPolicy{policyOf([]api.Selector{{Kinds: []string{"GeneralNode"}, Names: []string{"a", "b", "c", "d"}}}, cameras, "", rule("any"))}, viewer(), camera(), Query{}, false, "none of|p: does not select node/viewer as a source: kind is Node, must be GeneralNode, name is viewer, must be one of a, b, c and 1 more"},
		{"nothing to do with either", []*api.AccessPolicy{policyOf(nil, nil, "", rule("any"))}, viewer(), camera(), Query{}, false, "none of"},
		{"no policies", nil, viewer(), camera(), Query{}, false, "network home has no access policy"},
		{"networks", nil, foreign, camera(), Query{}, false, "devices of different networks never reach each other"},
		{"itself", []*api.AccessPolicy{policyOf([]api.Selector{{}}, []api.Selector{{}}, "", rule("any"))}, viewer(), viewer(), Query{}, false, "a device needs no policy"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			set, _ := Compile(c.policies)
			got := Explain(set, c.from, c.to, c.query)
			want := strings.Split(c.reasons, "|")
			if got.Allowed != c.allowed || len(got.Reasons) != len(want) {
				t.Fatalf("got %+v, want %v and %q", got, c.allowed, want)
			}
			for i, r := range got.Reasons {
				if text := strings.TrimPrefix(r.Policy+": "+r.Reason, ": "); !strings.Contains(text, want[i]) {
					t.Errorf("reason %q, want %q", text, want[i])
				}
			}
		})
	}
}

func TestExplainKnowsTheLimitOfRules(t *testing.T) {
	var ports []string
	for i := range wire.MaxRules + 1 {
		ports = append(ports, fmt.Sprint(10*i+1))
	}
	set, _ := Compile([]*api.AccessPolicy{policyOf([]api.Selector{{}}, []api.Selector{{Names: []string{"cam1"}}}, "", rule("tcp", ports...))})
	got := Explain(set, viewer(), camera(), Query{"tcp", uint16(10*wire.MaxRules + 1)})
	if got.Allowed || !strings.Contains(got.Reasons[0].Reason, "more than 32 rules") {
		t.Errorf("%+v", got)
	}
}

func TestExplainIsBounded(t *testing.T) {
	var policies []*api.AccessPolicy
	for i := range 3 * MaxReasons {
		policies = append(policies, policyOf([]api.Selector{{}}, []api.Selector{{Names: []string{"x"}}}, "", rule("any")))
		policies[i].Metadata.Name = fmt.Sprint("p", i)
	}
	set, _ := Compile(policies)
	got := Explain(set, viewer(), camera(), Query{})
	if last := got.Reasons[len(got.Reasons)-1]; len(got.Reasons) != MaxReasons+1 || !strings.HasPrefix(last.Reason, fmt.Sprint(2*MaxReasons+1, " more policies")) {
		t.Errorf("%d reasons, the last %+v", len(got.Reasons), last)
	}
}

// Whatever the policies: Explain allows what Evaluate allows, and names a policy for it.
func TestExplainAgreesWithEvaluate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var policies []*api.AccessPolicy
		for i := range rapid.IntRange(0, 4).Draw(t, "policies") {
			policies = append(policies, drawPolicy(t, fmt.Sprint("p", i)))
		}
		from, to := drawSubject(t, ID{"Node", "a"}), drawSubject(t, ID{"GeneralNode", "b"})
		protocol := rapid.SampledFrom([]string{"tcp", "udp", "icmp"}).Draw(t, "protocol")
		q := Query{Protocol: protocol}
		if protocol != "icmp" {
			q.Port = rapid.Uint16Range(1, 130).Draw(t, "port")
		}
		set, _ := Compile(policies)
		rules, truncated := set.Evaluate(from, to)
		allowed := false
		for _, r := range rules {
			allowed = allowed || !r.Inbound && (r.Protocol == protocolAny || r.Protocol == q.number() && (q.Port == 0 || r.PortLow <= q.Port && q.Port <= r.PortHigh))
		}
		got := Explain(set, from, to, q)
		names := strings.HasPrefix(got.Reasons[0].Reason, "allows")
		if got.Allowed != allowed || !truncated && names != allowed {
			t.Fatalf("Evaluate %v, Explain %+v", rules, got)
		}
	})
}

func TestParseQuery(t *testing.T) {
	for _, row := range []struct {
		protocol string
		port     int
		want     string
	}{
		{"", 0, "any flow"},
		{"any", 0, "any flow"},
		{"TCP", 80, "tcp/80"},
		{"udp", 0, "udp"},
		{"icmp", 0, "icmp"},
		{"sctp", 0, ""},
		{"tcp", -1, ""},
		{"tcp", 65536, ""},
		{"icmp", 1, ""},
		{"", 80, ""},
	} {
		q, err := ParseQuery(row.protocol, row.port)
		if (err == nil) != (row.want != "") || err == nil && q.String() != row.want {
			t.Errorf("%q %d: %v, %v", row.protocol, row.port, q, err)
		}
	}
}
