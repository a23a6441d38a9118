package nms

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// lapsedWorld is a replica with the location of a viewer and an old copy of that of a camera, which others hold. what says
// what the camera's location is now, after it has logged in again; one of the others, b, acts for it.
func lapsedWorld(t *testing.T) (w *world, viewer, cam *device, b string, what record) {
	t.Helper()
	w = newWorld(t)
	viewer = w.node("viewer", 1, "198.51.100.1:4000")
	w.core.name = w.core.rank(nil, viewer.subject.UID, []string{"a", "b", "c"})[0]
	self := w.core.name
	others := slices.DeleteFunc([]string{"a", "b", "c"}, func(s string) bool { return s == self })
	for n := byte(2); cam == nil || w.core.rank(nil, cam.subject.UID, []string{"a", "b", "c"})[2] != self; n++ {
		cam = w.node(fmt.Sprint("cam", n), n, fmt.Sprintf("198.51.100.%d:4000", n))
	}
	viewer.register()
	cam.register()
	w.core.SetMembers(w.now, Members{Revision: 5, Replicas: []Member{{Name: self, Ready: true}, {Name: others[0], Ready: true}, {Name: others[1], Ready: true}}})
	w.core.LinkUp(w.now, others[0])
	w.core.LinkUp(w.now, others[1])
	w.core.Tick(w.now, nil) // gives the location away
	for range 2 {
		// The others have taken what the last step gave them; the next one sees that this replica has nothing to do with it.
		for _, name := range others {
			w.core.HandleMessage(w.now, name, appendNumber(nil, linkPassed, w.core.peers[name].barrier), nil)
		}
		w.core.rescan()
		w.core.Tick(w.now, nil)
	}
	l := w.core.locations[cam.subject.UID]
	if l.acting == self || !l.lapsed {
		t.Fatalf("acting %s, lapsed %t", l.acting, l.lapsed)
	}
	what, err := parseRecord(w.core.recordOf(cam.subject.UID, l), w.now)
	if err != nil {
		t.Fatal(err)
	}
	cam.relogin()
	what.acting, what.epoch = others[0], l.epoch+1
	what.contact.sessionKey, what.contact.keyed = cam.ticket.SessionKey, false
	what.contact.made.counter++
	what.contact.stamp = what.contact.made
	// The other one leaves: this replica holds the location again.
	w.core.SetMembers(w.now, Members{Revision: 6, Replicas: []Member{{Name: self, Ready: true}, {Name: others[0], Ready: true}, {Name: others[1], Leaving: true}}})
	return w, viewer, cam, others[0], what
}

// push is the message with which a replica tells a location.
func (w *world) push(r record) []byte {
	return end(append(appendBool(begin(nil, linkLocation), false), appendRecord(nil, w.now, r)...), 0)
}

// A replica that becomes the holder of a location again, because another one leaves, has an old copy of it until it is told
// anew. It does not speak to the device by that while those who know better may still answer.
func TestAnOldCopyIsNotUsedWhileOthersMayKnowBetter(t *testing.T) {
	for _, row := range []struct {
		name    string
		told    bool // before the request comes
		answers bool // b does
	}{
		{"told anew", true, false},
		{"asks", false, true},
		{"nobody answers", false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, viewer, cam, b, r := lapsedWorld(t)
			if row.told {
				w.core.HandleMessage(w.now, b, w.push(r), nil)
			}
			got := w.open(w.handle(viewer.src, viewer.datagram(wire.DirectionRequest{RequestID: 7, Target: wire.Target{FQDN: cam.subject.FQDN}})), cam, viewer)
			for range 2 {
				w.now = w.now.Add(lookupHedge)
				w.core.last = w.now
				out := w.core.Tick(w.now, nil)
				if !row.told && len(out) > 0 {
					t.Fatal("the old copy was used at once")
				}
				got = append(got, w.open(out, cam, viewer)...)
			}
			if row.answers {
				answer := append(appendNumber(nil, linkFound, w.core.fetchID<<2|fetchLookup), foundCopy)
				got = w.open(w.core.HandleMessage(w.now, b, end(append(answer, appendRecord(nil, w.now, r)...), 0), nil), cam)
			}
			if !row.told && !row.answers {
				w.now = w.now.Add(fetchTimeout)
				if out := w.core.Tick(w.now, nil); len(out) != 1 {
					t.Errorf("%d datagrams; an old copy is better than none", len(out))
				}
				return
			}
			if len(got) != 1 || got[0].to != cam.src {
				t.Errorf("not asked under the present login: %v", got)
			}
		})
	}
}

// What a replica sends that does not know yet that others hold a location does not make a copy a kept one.
func TestAPushUnderOlderMembersDoesNotRenewACopy(t *testing.T) {
	for _, row := range []struct {
		name   string
		view   int64
		lapsed bool
	}{{"knows the members", 7, false}, {"knows older members", 5, true}} {
		t.Run(row.name, func(t *testing.T) {
			w, _, cam, b, r := lapsedWorld(t)
			m := w.core.members
			m.Revision, m.Replicas = 7, slices.Clone(m.Replicas)
			m.Replicas[2].Leaving, m.Replicas[2].Ready = false, true // it is back, and others hold the location
			w.core.SetMembers(w.now, m)
			w.core.HandleMessage(w.now, b, appendView(nil, row.view, true), nil)
			w.core.HandleMessage(w.now, b, w.push(r), nil)
			if got := w.core.locations[cam.subject.UID].lapsed; got != row.lapsed {
				t.Errorf("lapsed %t, want %t", got, row.lapsed)
			}
		})
	}
}
