package reconcile

import (
	"fmt"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

func policy(from, to []api.Selector) *api.AccessPolicy {
	p := new(api.AccessPolicy)
	p.Metadata.Generation = 3
	p.Spec.From, p.Spec.To = from, to
	return p
}

func TestMatched(t *testing.T) {
	cameras, hall := map[string]string{"role": "camera", "serial": "1"}, map[string]string{"role": "camera", "hall": "one", "serial": "2"}
	devices := []seenDevice{
		{"GeneralNode", "cam1", cameras},
		{"GeneralNode", "cam2", hall},
		{"GeneralNode", "plain", nil},
		{"Node", "viewer", map[string]string{"role": "viewer"}},
		{"Node", "cam1", nil}, // the same name as a general node
	}
	byRole := func(role string) []api.Selector {
		return []api.Selector{{MatchLabels: map[string]string{"role": role}}}
	}
	everything := []api.Selector{{}}
	cases := []struct {
		name            string
		policy          *api.AccessPolicy
		status          api.ConditionStatus
		reason, message string
	}{
		{"by label", policy(byRole("viewer"), byRole("camera")), "True", "Matched", "from 1 to 2 devices"},
		{"everything", policy(everything, everything), "True", "Matched", "from 5 to 5 devices"},
		{"by kind", policy([]api.Selector{{Kinds: []string{"Node"}}}, []api.Selector{{Kinds: []string{"GeneralNode"}}}), "True", "Matched", "from 2 to 3 devices"},
		{"by name", policy([]api.Selector{{Names: []string{"cam1"}}}, []api.Selector{{Names: []string{"cam1"}, Kinds: []string{"Node"}}}), "True", "Matched", "from 2 to 1 devices"},
		{"by name and label", policy([]api.Selector{{Names: []string{"cam1", "cam2"}, MatchLabels: map[string]string{"hall": "one"}}}, everything), "True", "Matched", "from 1 to 5 devices"},
		{"a device counts once", policy(append(byRole("camera"), api.Selector{Names: []string{"cam1", "viewer"}}), everything), "True", "Matched", "from 4 to 5 devices"},
		{"nobody opens", policy(byRole("guard"), byRole("camera")), "False", "NothingMatches", "from 0 to 2 devices; no device matches /spec/from/0"},
		{"nobody answers", policy(byRole("viewer"), []api.Selector{{Names: []string{"nobody"}}}), "False", "NothingMatches", "from 1 to 0 devices; no device matches /spec/to/0"},
		{"one selector is idle", policy(append(byRole("viewer"), byRole("guard")...), byRole("camera")), "True", "PartlyMatched", "from 1 to 2 devices; no device matches /spec/from/1"},
	}
	var policies []*api.AccessPolicy
	for _, k := range cases {
		policies = append(policies, k.policy)
	}
	s := newSights(policies)
	for _, d := range devices {
		s.add(d)
	}
	for _, k := range cases {
		c := s.matched(k.policy)
		if c.Status != k.status || c.Reason != k.reason || c.Message != k.message || c.ObservedGeneration != 3 {
			t.Errorf("%s: %+v", k.name, c)
		}
	}
}

// A million devices with labels of their own are as few groups as the policies
// tell apart.
func TestSightsAreFew(t *testing.T) {
	s := newSights([]*api.AccessPolicy{policy([]api.Selector{{MatchLabels: map[string]string{"role": "camera"}}}, []api.Selector{{}})})
	for i := range 10_000 {
		s.add(seenDevice{"GeneralNode", fmt.Sprint(i), map[string]string{"serial": fmt.Sprint(i), "role": []string{"camera", "door"}[i%2]}})
	}
	if len(s.groups) != 2 {
		t.Errorf("%d groups", len(s.groups))
	}
}

func TestAddressesAvailable(t *testing.T) {
	cases := []struct {
		v4, v6         string
		used4, used6   int64
		status, reason string
	}{
		{"10.0.0.0/24", "", 10, 0, "True", "AddressesAvailable"},
		{"10.0.0.0/24", "", 228, 0, "True", "PrefixNearlyFull"},
		{"10.0.0.0/24", "", 253, 0, "False", "PrefixFull"},
		{"", "fd00::/64", 0, 1_000_000, "True", "AddressesAvailable"},
		{"", "fd00::/120", 0, 254, "False", "PrefixFull"},
		{"10.0.0.0/8", "fd00::/120", 5, 240, "True", "PrefixNearlyFull"},
		{"10.0.0.0/30", "", 1, 0, "False", "PrefixFull"},
	}
	for _, k := range cases {
		n := new(api.Network)
		n.Spec.Ipv4Prefix, n.Spec.Ipv6Prefix = k.v4, k.v6
		if c := addressesAvailable(n, k.used4, k.used6); string(c.Status) != k.status || c.Reason != k.reason {
			t.Errorf("%+v: %+v", k, c)
		}
	}
}

func TestAbout(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 99: "99", 100: "about 100", 12_345: "about 12000", 999_999: "about 990000"} {
		if got := about(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

func TestMergeKeepsTimes(t *testing.T) {
	then, now := time.Unix(1000, 0).UTC(), time.Unix(2000, 0).UTC()
	have := []api.Condition{{Type: "Other", Status: "True"}, {Type: "Matched", Status: "True", Reason: "Matched", LastTransitionTime: then}}
	if got, changed := merge(have, api.Condition{Type: "Matched", Status: "True", Reason: "Matched"}, now); changed || len(got) != 2 {
		t.Errorf("the same: %v %+v", changed, got)
	}
	if got, changed := merge(have, api.Condition{Type: "Matched", Status: "True", Reason: "PartlyMatched"}, now); !changed || !got[1].LastTransitionTime.Equal(then) {
		t.Errorf("another reason: %v %+v", changed, got)
	}
	if got, changed := merge(have, api.Condition{Type: "Matched", Status: "False"}, now); !changed || !got[1].LastTransitionTime.Equal(now) || have[1].Status != "True" {
		t.Errorf("another status: %v %+v", changed, got)
	}
	if got, changed := merge(have, api.Condition{Type: "New", Status: "True"}, now); !changed || len(got) != 3 || len(have) != 2 {
		t.Errorf("a new one: %v %+v", changed, got)
	}
}
