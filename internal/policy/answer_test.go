package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyphonic/cyphonic/api"
)

func TestAnswersShowWhatTheFirstOpens(t *testing.T) {
	all := []api.Selector{{}}
	set, _ := Compile([]*api.AccessPolicy{policyOf(all, all, "", append(rule("tcp", "80", "443"), rule("icmp")...))})
	got := Explain(set, viewer(), camera(), Query{}).Answer()
	want := api.Reachability{
		Allowed: true, From: "node/viewer", To: "generalnode/cam1",
		Flows:   []api.ReachableFlow{{Policy: "p", Protocol: "icmp"}, {Policy: "p", Protocol: "tcp", Ports: []string{"80", "443"}}},
		Reasons: []api.ReachabilityReason{{Policy: "p", Reason: "allows tcp/80, tcp/443, icmp"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	d := Difference(World{Devices: func(yield func(Subject) bool) { _ = yield(viewer()) && yield(camera()) }}, Changes{
		Policies: []*api.AccessPolicy{policyOf([]api.Selector{{Names: []string{"viewer"}}}, all, "", rule("udp", "1-9"))},
	}).Answer()
	change := api.ReachabilityChange{From: "node/viewer", To: "generalnode/cam1", Pairs: 1, Flows: []api.ReachableFlow{{Protocol: "udp", Ports: []string{"1-9"}}}}
	if diff := cmp.Diff(api.ReachabilityDifference{Gained: []api.ReachabilityChange{change}, GainedPairs: 1}, d); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
