package endpoint

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/netsim"
	"github.com/cyphonic/cyphonic/internal/path"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// fromElsewhere makes what matches reach its destination from the attacker's address.
func fromElsewhere(w *world, match func(netsim.Packet) bool) (stop func()) {
	w.net.Host(attacker.Addr())
	return w.net.Block(func(p netsim.Packet) bool {
		if p.From == attacker || !match(p) {
			return false
		}
		go w.net.Inject(netsim.Packet{From: attacker, To: p.To, Payload: p.Payload})
		return true
	})
}

// run runs f on the control goroutine.
func (m *machine) run(f func(now time.Time)) {
	done := make(chan struct{})
	_ = m.endpoint.post(func(now time.Time) { defer close(done); f(now) })
	<-done
}

// The source of the first datagrams of a session can be forged, by the peer or
// on the way: neither end may send its users' packets there.
func TestANewSessionIsNotUsedTowardsAForgedSource(t *testing.T) {
	isData := func(p netsim.Packet, handshake bool) bool {
		h, err := wire.ParseDataHeader(p.Payload)
		return err == nil && (h.Flags&wire.FlagHandshake != 0) == handshake
	}
	for _, tt := range []struct {
		name  string
		match func(netsim.Packet) bool
	}{
		{"first data of the initiator", func(p netsim.Packet) bool { return p.From.Addr() == pubA && isData(p, false) }},
		{"last handshake message of the responder", func(p netsim.Packet) bool { return p.From.Addr() == pubB && isData(p, true) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
				stop := fromElsewhere(w, tt.match)
				a.mustConnect(b)
				time.Sleep(100 * time.Millisecond)
				for _, d := range []*device{a, b} {
					for _, l := range d.endpoint.Status().Locals {
						for _, p := range l.Peers {
							if p.Address == attacker {
								t.Errorf("%s sends to the forged source", d.fqdn)
							}
						}
					}
				}
				stop()
				time.Sleep(time.Second)
				exchange(w, a, b)
			})
		})
	}
}

// A captured HandshakeInit must not end a handshake that this end has begun.
func TestAReplayedHandshakeDoesNotEndAnOwnOne(t *testing.T) {
	for range 4 { // other keys: the one or the other wins
		inWorld(t, func(w *world) {
			tp := newTap(w)
			a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
			b.mustConnect(a)
			captured := tp.last(t, wire.TypeHandshakeInit, pubA)
			for _, d := range []*device{a, b} {
				d.run(func(now time.Time) {
					for _, p := range d.local.peers {
						p.endSession(now)
					}
				})
			}
			time.Sleep(2 * handshakeTimeout)
			unblock := w.net.Block(func(p netsim.Packet) bool { // b is slow to answer
				return p.From.Addr() == trs4 || p.From.Addr() == pubB && p.Payload[0] == byte(wire.TypeHandshakeResponse)
			})
			result := make(chan error, 1)
			go func() { _, err := a.connect(b); result <- err }()
			time.Sleep(deferFor + 500*time.Millisecond)
			w.net.Inject(netsim.Packet{From: attacker, To: captured.To, Payload: captured.Payload})
			time.Sleep(100 * time.Millisecond)
			unblock()
			if err := <-result; err != nil {
				t.Errorf("the connection fails: %v", err)
			}
		})
	}
}

// A peer that names the addresses of others, again and again, must not make this
// end send much to them.
func TestAddressesOfAPeerGetLittleBeforeItAnswersThere(t *testing.T) {
	inWorld(t, func(w *world) {
		tp := newTap(w)
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		a.mustConnect(b)
		time.Sleep(time.Second)
		var victims []netip.AddrPort
		for n := range 8 {
			victims = append(victims, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n + 1)}), 53))
		}
		silent := w.net.Block(func(p netsim.Packet) bool { return p.From.Addr() == pubB || p.To.Addr() == pubB })
		defer silent()
		start := time.Now()
		for range 300 {
			a.run(func(now time.Time) {
				for _, p := range a.local.peers {
					if p.selector == nil {
						continue
					}
					victims[0], victims[1] = victims[1], victims[0]
					p.candidates = victims
					p.selector.Announced(now, victims)
					p.selector.Seen(now, path.Path{Addr: victims[0]})
					p.act(now)
				}
			})
			time.Sleep(20 * time.Millisecond)
		}
		sent := 0
		tp.mu.Lock()
		for _, list := range tp.byType {
			for _, p := range list {
				if p.From.Addr() == pubA && p.To.Port() == 53 {
					sent += len(p.Payload)
				}
			}
		}
		tp.mu.Unlock()
		bound := unprovenBurst + int(time.Since(start).Seconds()+1)*unprovenPerSecond
		if sent == 0 || sent > bound {
			t.Errorf("%d bytes to addresses that never answered, want at most %d", sent, bound)
		}
		if a.dropped(dropUnproven) == 0 {
			t.Error("the bound is not reached: the test shows nothing")
		}
	})
}

// A certificate of a device's earlier names is valid for some hours more. It must
// not bring an address back that belongs to another one by now.
func TestAHandshakeWithEarlierNamesIsRefused(t *testing.T) {
	for _, initiator := range []string{"a", "b"} {
		inWorld(t, func(w *world) {
			a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
			current := *b.subject
			earlier := current
			earlier.IPv4 = netip.MustParseAddr("10.64.0.77")
			b.run(func(time.Time) { // what the NMS knows stays, what the handshake shows does not
				*b.subject = earlier
				b.local.grant.Certificate = b.grant(time.Hour).Certificate
				*b.subject = current
			})
			from, to := a, b
			if initiator == "b" {
				from, to = b, a
			}
			if _, err := from.connect(to); err == nil {
				t.Errorf("%s connects", initiator)
			}
			if a.dropped(dropCertificate) == 0 {
				t.Error("the certificate is not refused")
			}
			a.run(func(time.Time) {
				if a.local.byAddr[earlier.IPv4] != nil {
					t.Error("the earlier address is taken")
				}
			})
		})
	}
}

// The operator has given a virtual IP to another device, or the device has a new
// key: what the earlier holder has here must not stand in the way.
func TestTheNewHolderOfAnAddressReplacesTheEarlierOne(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		b.mustConnect(a)
		b.machine.stop()
		fresh := w.newDevice("c", 2) // b's addresses under another name
		w.contents.Subjects = w.contents.Subjects[:len(w.contents.Subjects)-1]
		for i, s := range w.contents.Subjects {
			if s == b.subject {
				w.contents.Subjects[i] = fresh.subject
			}
		}
		w.publish()
		// The farewell may be lost: a still has the session.
		host := w.net.Host(netip.MustParseAddr("203.0.113.3"))
		fresh.start(w.machine(host))
		w.devices = append(w.devices, fresh)
		fresh.mustConnect(a)
		exchange(w, a, fresh)
	})
}

func TestCountersGrowWhenAnIdentityBeginsAgainWithItsTicket(t *testing.T) {
	inWorld(t, func(w *world) {
		tp := newTap(w)
		d := w.newDevice("a", 1)
		m := w.machine(w.net.Host(pubA))
		d.machine = m
		w.devices = append(w.devices, d)
		grant := d.grant(time.Hour)
		for range 2 {
			local := must(m.endpoint.Add(Identity{Key: d.key, Grant: grant}))
			if err := local.WaitRegistered(context.Background()); err != nil {
				t.Fatal(err)
			}
			local.Close()
			time.Sleep(time.Millisecond)
		}
		seen := make(map[uint64]bool)
		tp.mu.Lock()
		defer tp.mu.Unlock()
		for _, p := range tp.byType[wire.TypeSignal] {
			s, err := wire.ParseSignal(p.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if seen[s.Counter] {
				t.Fatalf("counter %d is used twice with one key", s.Counter)
			}
			seen[s.Counter] = true
		}
		if len(seen) < 4 {
			t.Errorf("%d datagrams were seen", len(seen))
		}
	})
}

func TestOneSourceDoesNotFillTheQueueOfMisses(t *testing.T) {
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	in := newInbox(m)
	greedy, modest := netip.MustParseAddr("10.64.0.1"), netip.MustParseAddr("10.64.0.2")
	for range 2 * missQueue {
		in.Miss(greedy, modest, []byte{0x45})
	}
	if len(in.misses) != missShare {
		t.Errorf("%d packets of one source are queued, want %d", len(in.misses), missShare)
	}
	in.Miss(modest, greedy, []byte{0x45})
	if len(in.misses) != missShare+1 {
		t.Error("another source has no room")
	}
	for len(in.misses) > 0 {
		in.sources.give((<-in.misses).src)
	}
	if len(in.sources.queued) != 0 {
		t.Errorf("%d sources are kept", len(in.sources.queued))
	}
}
