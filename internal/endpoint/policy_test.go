package endpoint

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/netsim"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// reachIn is the time in which a change of the desired state has to reach live tunnels.
const reachIn = 5 * time.Second

// lasting streams both ways between a and b, lets change happen, and gives how long each end went on delivering.
func lasting(w *world, a, b *device, change func()) (atA, atB time.Duration) {
	w.t.Helper()
	defer a.stream(b, 10*time.Millisecond)()
	defer b.stream(a, 10*time.Millisecond)()
	time.Sleep(time.Second)
	if a.count() == 0 || b.count() == 0 {
		w.t.Fatal("nothing arrives before the change")
	}
	start := time.Now()
	change()
	time.Sleep(2 * reachIn)
	last := func(d *device) time.Duration {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.at[len(d.at)-1].Sub(start)
	}
	return last(a), last(b)
}

func (w *world) replaceSubject(d *device, f func(*replica.Subject)) {
	for i, s := range w.contents.Subjects {
		if s == d.subject {
			c := *s
			f(&c)
			w.contents.Subjects[i], d.subject = &c, &c
		}
	}
	w.publish()
}

func (d *device) remove() {
	w := d.w
	for i, s := range w.contents.Subjects {
		if s == d.subject {
			w.contents.Subjects = append(w.contents.Subjects[:i:i], w.contents.Subjects[i+1:]...)
		}
	}
	w.publish()
}

func (m *machine) revoked(reason string) int {
	return int(testutil.ToFloat64(m.endpoint.metrics.revocations.WithLabelValues(reason)))
}

func TestAWithdrawnRightEndsLiveTunnels(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world, a, b *device)
		lost   bool // the message of the NMS to the initiator
	}{
		{"policy withdrawn", func(w *world, _, _ *device) { w.contents.Policies = nil; w.publish() }, false},
		{"policy withdrawn, unheard by the initiator", func(w *world, _, _ *device) { w.contents.Policies = nil; w.publish() }, true},
		{"responder deleted", func(_ *world, _, b *device) { b.remove() }, false},
		{"initiator deleted", func(_ *world, a, _ *device) { a.remove() }, false},
		{"responder disabled", func(w *world, _, b *device) { w.replaceSubject(b, func(s *replica.Subject) { s.Disabled = true }) }, false},
		{"responder has another key", func(w *world, _, b *device) {
			w.contents.Enrolled[b.subject.Ref] = replica.Enrolled{UID: b.subject.UID, Public: must(identity.NewDeviceKey(rand.Reader)).Public()}
			w.publish()
		}, false},
		{"label of the responder changed", func(w *world, _, b *device) {
			w.replaceSubject(b, func(s *replica.Subject) { s.Labels = nil })
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
				labelled := []api.Selector{{MatchLabels: map[string]string{"mesh": "yes"}}}
				w.contents.Policies[0].Spec.From, w.contents.Policies[0].Spec.To = labelled, labelled
				for _, d := range []*device{a, b} {
					w.replaceSubject(d, func(s *replica.Subject) { s.Labels = map[string]string{"mesh": "yes"} })
				}
				a.mustConnect(b)
				time.Sleep(5 * time.Second)
				if tt.lost {
					defer w.net.Block(func(p netsim.Packet) bool { return p.From.Addr() == nms4 && p.To.Addr() == pubA })()
				}
				atA, atB := lasting(w, a, b, func() { tt.change(w, a, b) })
				t.Logf("packets arrived for another %v and %v", atA, atB)
				if max(atA, atB) > reachIn {
					t.Errorf("packets arrived for another %v and %v", atA, atB)
				}
				if a.hasSession(b) || b.hasSession(a) {
					t.Error("the session is still there")
				}
				if a.revoked("denied")+a.revoked("unknown")+b.revoked("denied")+b.revoked("unknown") == 0 {
					t.Error("no revocation is counted")
				}
			})
		})
	}
}

func TestAPolicyThatComesBackLetsTheTunnelComeBack(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		a.mustConnect(b)
		policies := w.contents.Policies
		lasting(w, a, b, func() { w.contents.Policies = nil; w.publish() })
		before := b.count()
		stop := a.stream(b, 10*time.Millisecond)
		w.contents.Policies = policies
		w.publish()
		time.Sleep(reachIn)
		stop()
		if b.count() == before {
			t.Error("nothing arrives")
		}
		time.Sleep(time.Second)
		exchange(w, a, b)
	})
}

// udpTo is an inner packet like packet's, to another port.
func udpTo(a, b *device, port uint16) []byte {
	p := packet(a.ipv4, b.ipv4, uint64(port))
	binary.BigEndian.PutUint16(p[22:], port)
	return p
}

func TestNarrowedRulesCutOnlyTheFlowsThatTheyNameNoMore(t *testing.T) {
	for _, relayed := range []bool{false, true} {
		inWorld(t, func(w *world) {
			a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
			rules := func(ports ...string) {
				p := *w.contents.Policies[0]
				p.Spec.From = []api.Selector{{Names: []string{"a"}}}
				p.Spec.Rules = []api.PolicyRule{{Protocol: "udp", Ports: ports}}
				w.contents.Policies = []*api.AccessPolicy{&p}
				w.publish()
			}
			if relayed {
				w.net.BlockPair(pubA, pubB)
			}
			rules("2000", "2001")
			a.mustConnect(b)
			b.mu.Lock()
			b.echo = true
			b.mu.Unlock()
			echoed := func() map[uint64]int {
				a.mu.Lock()
				a.received = nil
				a.mu.Unlock()
				for range 10 {
					_ = a.tun.Send(udpTo(a, b, 2000))
					_ = a.tun.Send(udpTo(a, b, 2001))
					time.Sleep(20 * time.Millisecond)
				}
				time.Sleep(time.Second)
				got := make(map[uint64]int)
				a.mu.Lock()
				defer a.mu.Unlock()
				for _, port := range a.received {
					got[port]++
				}
				return got
			}
			if got := echoed(); got[2000] != 10 || got[2001] != 10 {
				t.Fatalf("before: %v", got)
			}
			epoch := a.peer(b).EpochSeconds
			rules("2001")
			time.Sleep(reachIn)
			if got := echoed(); got[2000] != 0 || got[2001] != 10 {
				t.Errorf("after: %v", got)
			}
			if a.peer(b).EpochSeconds < epoch+5 {
				t.Error("the session is another one")
			}
		})
	}
}

// tapped counts the datagrams that match.
func (w *world) tapped(match func(netsim.Packet) bool) *atomic.Int64 {
	n := new(atomic.Int64)
	w.net.Block(func(p netsim.Packet) bool {
		if match(p) {
			n.Add(1)
		}
		return false
	})
	return n
}

func TestAnUnrelatedWriteSendsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		a.mustConnect(b)
		time.Sleep(3 * time.Second)
		n := w.tapped(func(p netsim.Packet) bool { return p.From.Addr() == nms4 || p.To.Addr() == nms4 })
		w.contents.Revision++
		w.contents.Services = map[string][]replica.Service{}
		w.publish()
		time.Sleep(reachIn)
		if n.Load() != 0 {
			t.Errorf("%d datagrams from and to the NMS", n.Load())
		}
	})
}

func TestOneEndOfEachPairAsksAfterAChange(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		a.mustConnect(b)
		time.Sleep(3 * time.Second)
		requests := map[netip.Addr]*atomic.Int64{}
		for _, from := range []netip.Addr{pubA, pubB} {
			requests[from] = w.tapped(func(p netsim.Packet) bool { return p.From.Addr() == from && p.To.Addr() == nms4 })
		}
		handshakes := w.tapped(func(p netsim.Packet) bool { return p.Payload[0] == byte(wire.TypeHandshakeInit) })
		w.newDevice("c", 3) // somebody else's change
		time.Sleep(reachIn)
		if requests[pubA].Load() != 1 || requests[pubB].Load() != 1 { // the request; the confirmation
			t.Errorf("%d datagrams of the initiator, %d of the other end, want one of each", requests[pubA].Load(), requests[pubB].Load())
		}
		if handshakes.Load() != 0 {
			t.Error("a handshake has begun")
		}
		exchange(w, a, b)
	})
}

func TestADeadCloudChangesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		a.mustConnect(b)
		time.Sleep(3 * time.Second)
		// The worst moment: both ends have heard of a change and get no answer any more.
		w.newDevice("c", 3)
		time.Sleep(150 * time.Millisecond)
		w.stopNMS()
		start := time.Now()
		stop := a.stream(b, 250*time.Millisecond)
		time.Sleep(20 * time.Minute)
		stop()
		if gap := b.longestGap(start); gap > time.Second {
			t.Errorf("a pause of %v", gap)
		}
		// A new connection of the pair, without anybody to ask.
		for _, d := range []*device{a, b} {
			d.run(func(now time.Time) {
				for _, p := range d.local.peers {
					p.endSession(now)
				}
			})
		}
		time.Sleep(time.Second)
		b.mustConnect(a)
		exchange(w, a, b)
	})
}

// A peer whose session has ended is authorised for hours: after a change its handshake waits for the NMS.
func TestAnIdlePeerIsAskedAboutWhenItComesBack(t *testing.T) {
	for _, withdrawn := range []bool{false, true} {
		inWorld(t, func(w *world) {
			a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
			a.mustConnect(b)
			for _, d := range []*device{a, b} {
				d.run(func(now time.Time) {
					for _, p := range d.local.peers {
						p.endSession(now)
					}
				})
			}
			time.Sleep(10 * time.Second)
			w.newDevice("c", 3)
			if withdrawn {
				w.contents.Policies = nil
				w.publish()
			}
			time.Sleep(3 * time.Second)
			a.run(func(now time.Time) { // without asking the NMS
				for _, p := range a.local.peers {
					p.initiate(now)
				}
			})
			time.Sleep(3 * time.Second)
			if b.dropped(dropUnsettled) == 0 {
				t.Error("the handshake has not waited")
			}
			if b.hasSession(a) == withdrawn || a.hasSession(b) == withdrawn {
				t.Errorf("withdrawn %v: session %v", withdrawn, b.hasSession(a))
			}
		})
	}
}
