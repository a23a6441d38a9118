package nms

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// A replica that becomes the holder of a location again, because another one leaves, has an old copy of it until it is told
// anew. It does not speak to the device by that while those who know better may still answer.
func TestAnOldCopyIsNotUsedWhileOthersMayKnowBetter(t *testing.T) {
	for _, row := range []struct {
		name    string
		told    bool // before the request comes
		answers bool // the others
	}{
		{"told anew", true, false},
		{"asks", false, true},
		{"nobody answers", false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			viewer := w.node("viewer", 1, "198.51.100.1:4000")
			w.core.name = w.core.rank(nil, viewer.subject.UID, []string{"a", "b", "c"})[0]
			self := w.core.name
			others := slices.DeleteFunc([]string{"a", "b", "c"}, func(s string) bool { return s == self })
			b, c := others[0], others[1]
			var cam *device // that others hold as long as there are three
			for n := byte(2); cam == nil || w.core.rank(nil, cam.subject.UID, []string{"a", "b", "c"})[2] != self; n++ {
				cam = w.node(fmt.Sprint("cam", n), n, fmt.Sprintf("198.51.100.%d:4000", n))
			}
			viewer.register()
			cam.register()

			w.core.SetMembers(w.now, Members{Revision: 5, Replicas: []Member{{Name: self, Ready: true}, {Name: b, Ready: true}, {Name: c, Ready: true}}})
			w.core.LinkUp(w.now, b)
			w.core.LinkUp(w.now, c)
			w.core.Tick(w.now, nil) // gives the location away
			l := w.core.locations[cam.subject.UID]
			for range 2 {
				// The others have taken what the last step gave them; the next one sees that this replica has nothing to do with it.
				for _, name := range others {
					p := w.core.peers[name]
					w.core.HandleMessage(w.now, name, appendNumber(nil, linkPassed, p.barrier), nil)
				}
				w.core.rescan()
				w.core.Tick(w.now, nil)
			}
			if l.acting == self || !l.lapsed {
				t.Fatalf("acting %s, lapsed %t", l.acting, l.lapsed)
			}

			// The device logs in again where it is known; then c leaves, and this replica holds the location.
			r, err := parseRecord(w.core.recordOf(cam.subject.UID, l), w.now)
			if err != nil {
				t.Fatal(err)
			}
			cam.relogin()
			r.acting, r.epoch = b, l.epoch+1
			r.contact.sessionKey, r.contact.keyed = cam.ticket.SessionKey, false
			r.contact.made.counter++
			r.contact.stamp = r.contact.made
			w.core.SetMembers(w.now, Members{Revision: 6, Replicas: []Member{{Name: self, Ready: true}, {Name: b, Ready: true}, {Name: c, Leaving: true}}})
			if row.told {
				w.core.HandleMessage(w.now, b, end(append(appendBool(begin(nil, linkLocation), false), appendRecord(nil, w.now, r)...), 0), nil)
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
