package nms

import (
	"fmt"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// givenWorld is a replica "a" with the copy of a location for which "b" acts, and which is now a's. "c" is there too.
func givenWorld(t *testing.T) (*world, *device, record) {
	t.Helper()
	w := newWorld(t)
	w.core.name = "a"
	m := Members{Revision: 5, Replicas: []Member{{Name: "a", Ready: true}, {Name: "b", Ready: true}, {Name: "c", Ready: true}}}
	var d *device
	for n := byte(2); d == nil || w.core.rank(nil, d.subject.UID, []string{"a", "b", "c"})[0] != "a"; n++ {
		d = w.node(fmt.Sprint("cam", n), n, fmt.Sprintf("198.51.100.%d:4000", n))
	}
	d.register()
	l := w.core.locations[d.subject.UID]
	r, err := parseRecord(w.core.recordOf(d.subject.UID, l), w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.core.remove(l)
	w.core.SetMembers(w.now, m)
	w.core.LinkUp(w.now, "b")
	w.core.LinkUp(w.now, "c")
	r.acting, r.epoch = "b", 7
	w.core.merge(r, false)
	return w, d, r
}

// hands is the message with which b gives the location to a.
func (w *world) hands(r record) []byte {
	r.acting, r.epoch = "a", 8
	return end(append(appendBool(begin(nil, linkLocation), true), appendRecord(nil, w.now, r)...), 0)
}

// What has come just before a location was given to this replica is decided at once when it is, although another
// replica is busy and does not answer: neither is it passed by a later datagram, which makes it a replay, nor is the
// device challenged.
func TestRequestsDoNotWaitOnceTheLocationIsGiven(t *testing.T) {
	for _, row := range []struct {
		name string
		give func(w *world, r record) []byte
	}{
		{"because its owner leaves", (*world).hands},
		{"in answer to the claim", func(w *world, r record) []byte {
			r.acting, r.epoch = "a", 8
			return end(appendRecord(append(append(begin(nil, linkFound), 0, 0, 0, 0, 0, 0, 0, 1<<2|fetchClaim), foundGiven), w.now, r), 0)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, d, r := givenWorld(t)
			first, second := d.registration(), d.registration()
			for _, body := range []wire.Registration{first, second} {
				if out := w.handle(d.src, d.datagram(body)); len(out) != 0 {
					t.Fatalf("answered while another replica acts: %v", w.open(out, d))
				}
			}
			got := w.open(w.core.HandleMessage(w.now, "b", row.give(w, r), nil), d)
			got = append(got, d.send(d.registration())...)
			for range 3 {
				w.now = w.now.Add(lookupHedge * 3) // c answers nothing
				got = append(got, w.open(w.core.Tick(w.now, nil), d)...)
			}
			var acks []uint64
			for _, m := range got {
				if ack, ok := m.body.(wire.RegistrationAck); ok {
					acks = append(acks, ack.Echo)
				} else {
					t.Errorf("answered by %T", m.body)
				}
			}
			if want := []uint64{first.Echo, second.Echo, d.echo}; fmt.Sprint(acks) != fmt.Sprint(want) {
				t.Errorf("acknowledged %v, not %v", acks, want)
			}
			if n := w.dropped(dropReplay); n != 0 {
				t.Errorf("%d datagrams of the device were taken for replays", n)
			}
		})
	}
}

// A third replica may tell that this one acts before who has given it the location does. The device needs no new proof.
func TestALocationIsGivenAlthoughAThirdReplicaWasFaster(t *testing.T) {
	w, d, r := givenWorld(t)
	told := r
	told.acting, told.epoch = "a", 8
	w.core.merge(told, false)
	l := w.core.locations[d.subject.UID]
	if l.acting != "a" || l.doubt.IsZero() {
		t.Fatalf("acting %q, doubt %v: what a third replica tells says nothing of what is missing", l.acting, l.doubt)
	}
	w.core.HandleMessage(w.now, "b", w.hands(r), nil)
	if !w.core.sole(l) {
		t.Errorf("acting %q, sure %v, doubt %v after it was given", l.acting, l.sure, l.doubt)
	}
	w.now = w.now.Add(cookieTTL + time.Second) // the cookie that the device has is of no use any more
	w.core.last = w.now                        // the replica has run all the time
	if got := d.send(d.registration()); len(got) != 1 || got[0].body.(wire.RegistrationAck).Echo != d.echo {
		t.Errorf("answered %v", got)
	}
}

// A datagram whose owner does not answer is authenticated here once, however long it has waited.
func TestADatagramThatComesBackIsAuthenticatedOnce(t *testing.T) {
	w, d, _ := givenWorld(t)
	m := w.core.members
	m.Replicas = append([]Member(nil), m.Replicas...)
	m.Revision, m.Replicas[0].Leaving, m.Replicas[0].Ready = 6, true, false
	w.core.SetMembers(w.now, m) // b or c owns it
	opened := 0
	snapshot := w.core.snapshot
	w.core.snapshot = func() *replica.Snapshot { opened++; return snapshot() }
	body := d.registration()
	if out := w.handle(d.src, d.datagram(body)); len(out) != 0 || opened != 1 {
		t.Fatalf("authenticated %d times, answered %v", opened, out)
	}
	w.core.leaving = false
	w.core.refreshRing()
	w.now = w.now.Add(hedgeAfter)
	got := w.open(w.core.Tick(w.now, nil), d)
	if len(got) != 1 || got[0].body.(wire.RegistrationAck).Echo != body.Echo {
		t.Errorf("answered %v", got)
	}
	if opened != 1 {
		t.Errorf("authenticated %d times", opened)
	}
}
