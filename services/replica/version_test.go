package replica

import (
	"slices"
	"testing"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

func versioned() Contents {
	return Contents{
		Subjects: []*Subject{
			{Ref: Ref{keyspace.Nodes, "a"}, UID: "1", Network: "home", Labels: map[string]string{"x": "1", "y": "2"}},
			{Ref: Ref{keyspace.GeneralNodes, "b"}, UID: "2", Network: "home", Adapter: "gate"},
			{Ref: Ref{keyspace.Adapters, "gate"}, UID: "3", Network: "home"},
			{Ref: Ref{keyspace.Nodes, "c"}, UID: "4", Network: "work"},
		},
		Policies: []*api.AccessPolicy{
			{Metadata: api.ObjectMeta{Name: "p"}, Spec: api.AccessPolicySpec{Network: "home", Rules: []api.PolicyRule{{Protocol: "tcp"}}}},
			{Metadata: api.ObjectMeta{Name: "q"}, Spec: api.AccessPolicySpec{Network: "home"}},
		},
		Enrolled: map[Ref]Enrolled{{keyspace.Nodes, "a"}: {UID: "1", Public: identity.DevicePublic{Static: [32]byte{1}}}},
	}
}

func TestThePolicyVersionChangesWithWhatDecidesWhoMayTalk(t *testing.T) {
	first, _ := NewSnapshot(versioned())
	for _, tt := range []struct {
		name    string
		change  func(*Contents)
		changed bool
	}{
		{"order", func(c *Contents) { slices.Reverse(c.Subjects); slices.Reverse(c.Policies) }, false},
		{"revision, keys, services, networks", func(c *Contents) {
			c.Revision, c.Ticket.Current.ID = 9, 1
			c.Services = map[string][]Service{"trs": {{Name: "t"}}}
			c.Networks = []*Network{{Name: "home"}}
		}, false},
		{"password", func(c *Contents) { c.Subjects[0].PasswordHash = "x" }, false},
		{"another network", func(c *Contents) { c.Subjects[3].Disabled = true }, false},
		{"an adapter's labels and key", func(c *Contents) {
			c.Subjects[2].Labels = map[string]string{"z": "1"}
			c.Enrolled[c.Subjects[2].Ref] = Enrolled{UID: "3"}
		}, false},
		{"key of an earlier resource", func(c *Contents) { c.Enrolled[c.Subjects[1].Ref] = Enrolled{UID: "0"} }, false},
		{"adapter disabled", func(c *Contents) { c.Subjects[2].Disabled = true }, true},
		{"device disabled", func(c *Contents) { c.Subjects[0].Disabled = true }, true},
		{"device deleted", func(c *Contents) { c.Subjects = c.Subjects[1:] }, true},
		{"device made anew", func(c *Contents) { c.Subjects[0].UID = "9" }, true},
		{"label", func(c *Contents) { c.Subjects[0].Labels["x"] = "2" }, true},
		{"name", func(c *Contents) { c.Subjects[0].FQDN = "a.example" }, true},
		{"assurance", func(c *Contents) { c.Subjects[1].Assurance = identity.AssuranceBasic }, true},
		{"key", func(c *Contents) { c.Enrolled[c.Subjects[0].Ref] = Enrolled{UID: "1"} }, true},
		{"rule", func(c *Contents) { c.Policies[0].Spec.Rules[0].Protocol = "udp" }, true},
		{"policy withdrawn", func(c *Contents) { c.Policies = c.Policies[:1] }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := versioned()
			tt.change(&c)
			s, errs := NewSnapshot(c)
			if len(errs) != 0 {
				t.Fatal(errs)
			}
			if got := s.PolicyVersion("home") != first.PolicyVersion("home"); got != tt.changed {
				t.Errorf("changed: %v", got)
			}
			if home := s.PolicyVersion("home") != first.PolicyVersion("home"); home && s.Version() == first.Version() {
				t.Error("the version of all networks stays")
			}
		})
	}
	if first.PolicyVersion("home") == 0 || first.PolicyVersion("nowhere") != 0 {
		t.Error("0 is not the version of no network")
	}
}

// Replicas of the version before serve the same devices during an upgrade: with other versions of the policy than
// theirs, every device would ask anew about all of its sessions whenever it changes between the two.
func TestThePolicyVersionIsThatOfEarlierReplicas(t *testing.T) {
	s, _ := NewSnapshot(versioned())
	if home, work, all := s.PolicyVersion("home"), s.PolicyVersion("work"), s.Version(); home != 0xc510445f1f5813eb ||
		work != 0xd1504202ae082db1 || all != 0x7d67eb9894dbadd7 {
		t.Errorf("%#x %#x %#x", home, work, all)
	}
}
