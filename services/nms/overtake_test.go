package nms

import (
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// What a device sends under a new login may arrive before its registration with it. Neither the copy that was made in
// between, nor an older registration, brings back where the device was and its key.
func TestARegistrationThatIsOvertakenCounts(t *testing.T) {
	w := newWorld(t)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	w.node("cam1", 3, "198.51.100.6:4000").register()
	d.register()
	late := d.datagram(d.registration()) // under the old login
	w.now = w.now.Add(time.Second)
	d.relogin()
	d.cookie = [16]byte{}
	registration := d.datagram(d.registration())
	w.handle(d.src, d.datagram(wire.DirectionRequest{RequestID: 7, Target: wire.Target{FQDN: "cam1.home.example"}}))
	l := w.core.locations[d.subject.UID]
	between, err := parseRecord(w.core.recordOf(d.subject.UID, l), w.now)
	if err != nil {
		t.Fatal(err)
	}
	if between.contact.sessionKey == d.ticket.SessionKey || !between.contact.stamp.after(between.contact.made) {
		t.Fatal("the request has registered the device")
	}
	if got := w.open(w.handle(d.src, registration), d); len(got) != 1 {
		t.Fatalf("%d answers to the registration", len(got))
	}
	after, err := parseRecord(w.core.recordOf(d.subject.UID, l), w.now)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"the registration", func() {}},
		{"the copy from before it", func() { w.core.merge(between, false) }},
		{"a registration under the login before", func() { w.handle(d.src, late) }},
	} {
		if step.do(); l.sessionKey != d.ticket.SessionKey {
			t.Errorf("after %s the session key is that of the login before", step.name)
		}
	}
	// At the other replica, which has the copy from before it, the later registration wins.
	if !after.contact.newer(&between.contact) || between.contact.newer(&after.contact) {
		t.Errorf("made %v, stamp %v against made %v, stamp %v", after.contact.made, after.contact.stamp, between.contact.made, between.contact.stamp)
	}
}

// The owners of a location are on different hosts, as long as there are some.
func TestOwnersAreOnDifferentHosts(t *testing.T) {
	for _, row := range []struct {
		name  string
		hosts map[string]string
		want  int // hosts of the three owners
	}{
		{"three hosts", map[string]string{"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c", "c2": "c"}, 3},
		{"two hosts", map[string]string{"a1": "a", "a2": "a", "a3": "a", "b1": "b"}, 2},
		{"one host", map[string]string{"a1": "a", "a2": "a", "a3": "a"}, 1},
		{"hosts that are not known", map[string]string{"a1": "", "a2": "", "a3": ""}, 3},
	} {
		c := newWorld(t).core
		m := Members{Revision: 1}
		for name, host := range row.hosts {
			m.Replicas = append(m.Replicas, Member{Name: name, Host: host, Ready: true})
		}
		c.name = "a1"
		c.SetMembers(time.Unix(1_800_000_000, 0), m)
		first := make(map[string]int)
		for i := range 600 {
			uid := string(rune('a'+i%26)) + string(rune('0'+i/26))
			seen := make(map[string]bool)
			for k, name := range c.ranked(uid) {
				if k == 0 {
					first[name]++
				}
				host := row.hosts[name]
				if host == "" {
					host = name
				}
				seen[host] = true
				if k == 1 && len(seen) != min(2, row.want) {
					t.Errorf("%s: the copies of %s are on one host", row.name, uid)
				}
			}
			if len(seen) != row.want {
				t.Errorf("%s: the owners of %s are on %d hosts, want %d", row.name, uid, len(seen), row.want)
			}
		}
		if len(first) != len(row.hosts) {
			t.Errorf("%s: only %v are first owners", row.name, first)
		}
	}
}
