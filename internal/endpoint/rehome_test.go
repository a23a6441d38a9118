package endpoint

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/netsim"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
	"github.com/cyphonic/cyphonic/services/trs"
)

// relayReplica is one of several equal replicas of the TRS.
type relayReplica struct {
	w      *world
	host   *netsim.Host
	addr   netip.Addr
	server *trs.Server
	stop   func()
}

// relays stops the world's only TRS and gives n replicas, all of which the NMS knows.
func (w *world) relays(n int) []*relayReplica {
	w.t.Helper()
	w.stopTRS()
	list := make([]*relayReplica, n)
	for i := range list {
		r := &relayReplica{w: w, addr: netip.AddrFrom4([4]byte{198, 51, 100, byte(20 + i)})}
		r.host = w.net.Host(r.addr)
		r.start()
		list[i] = r
	}
	w.stopTRS = func() {
		for _, r := range list {
			r.stop()
		}
	}
	w.members(list...)
	return list
}

func (r *relayReplica) start() {
	core := must(trs.NewCore(trs.CoreOptions{
		Keys: func() identity.Keyring { return r.w.snapshot.Load().RelayKeys() }, Rand: rand.Reader, Log: r.w.log, Registerer: prometheus.NewRegistry(),
	}))
	r.server = trs.NewServer(core, must(r.host.Listen(trsPort)), time.Now, r.w.log)
	r.stop = background(r.server.Run)
}

// vanish is kill -9: nothing leaves any more.
func (r *relayReplica) vanish() {
	r.host.SetDown(true)
	r.stop()
}

// members says which replicas the NMS may choose from now on.
func (w *world) members(list ...*relayReplica) {
	var services []replica.Service
	for _, r := range list {
		services = append(services, replica.Service{Name: "trs-" + r.addr.String(), IPv4: netip.AddrPortFrom(r.addr, trsPort)})
	}
	w.contents.Services = map[string][]replica.Service{"trs": services}
	w.publish()
}

// split finds the replica through which a reaches b, and the others.
func (w *world) split(a, b *device, list []*relayReplica) (used *relayReplica, others []*relayReplica) {
	w.t.Helper()
	at := a.peer(b)
	if at.Path != "relayed" {
		w.t.Fatalf("%s reaches %s by %s", a.fqdn, b.fqdn, at.Path)
	}
	for _, r := range list {
		if r.addr == at.Address.Addr() {
			used = r
		} else {
			others = append(others, r)
		}
	}
	if used == nil {
		w.t.Fatalf("%s reaches %s through %v", a.fqdn, b.fqdn, at.Address)
	}
	return used, others
}

// relayedPair is two nodes that only a relay can connect, connected.
func relayedPair(w *world) (a, b *device) {
	a = w.node("a", 1, w.net.NAT(pubA, netsim.Symmetric).Host(lanA))
	b = w.node("b", 2, w.net.NAT(pubB, netsim.Symmetric).Host(lanB))
	a.mustConnect(b)
	return a, b
}

// deaf loses all notices of leaving on their way to a host, as a device does that does not know their code.
func (w *world) deaf(to netip.Addr) {
	w.net.Block(func(p netsim.Packet) bool {
		m, err := wire.ParseRelayError(p.Payload)
		return err == nil && m.Code == wire.RelayErrorLeaving && p.To.Addr() == to
	})
}

// complete demands that what was sent has arrived once.
func (d *device) complete(sent int) {
	d.w.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := make(map[uint64]bool, len(d.received))
	for _, n := range d.received {
		if seen[n] {
			d.w.t.Errorf("%s: packet %d arrived twice", d.fqdn, n)
		}
		seen[n] = true
	}
	if len(seen) != sent {
		d.w.t.Errorf("%s: %d of %d packets arrived", d.fqdn, len(seen), sent)
	}
}

func (d *device) searches(reason string) int {
	return int(testutil.ToFloat64(d.endpoint.metrics.searches.WithLabelValues(reason)))
}

// The requirement: a relay that drains loses no packet and no tunnel, whoever of
// the two hears of it first and whatever the NMS knows by then.
func TestALeavingRelayLosesNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		delay time.Duration // one way; 0: the usual one
		stale bool          // the NMS does not hear that the TRS leaves
		deaf  []netip.Addr  // who does not hear it
	}{
		{name: "both are told"},
		{name: "both ask at the same time", delay: 250 * time.Millisecond},
		{name: "the NMS does not know it", stale: true},
		{name: "the NMS does not know it and both ask", delay: 250 * time.Millisecond, stale: true},
		{name: "one end is a device of the version before", deaf: []netip.Addr{pubA}},
		{name: "the other end is", deaf: []netip.Addr{pubB}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				list := w.relays(3)
				if tt.delay > 0 {
					w.net.SetDelay(tt.delay)
				}
				a, b := relayedPair(w)
				b.echo = true
				for _, addr := range tt.deaf {
					w.deaf(addr)
				}
				stop := a.stream(b, 5*time.Millisecond)
				time.Sleep(5 * time.Second)
				old, others := w.split(a, b, list)
				index := a.session(b)

				if !tt.stale {
					w.members(others...)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				left := time.Now()
				if err := old.server.HandOver(ctx); err != nil {
					t.Errorf("hand-over: %v", err)
				}
				describe(w, "handed over after %v", time.Since(left))
				old.server.Refuse()
				if n := old.server.Residual(); n != 0 {
					t.Errorf("%d sessions are left", n)
				}
				old.vanish()
				time.Sleep(20 * time.Second)
				sent := stop()
				time.Sleep(2 * time.Second)
				b.complete(sent)
				a.complete(sent)
				w.split(a, b, others)
				w.split(b, a, others)
				if a.session(b) != index {
					t.Error("the session is another one")
				}
			})
		})
	}
}

// Tunnels without traffic at the moment move as well.
func TestAnIdleTunnelLeavesARelay(t *testing.T) {
	inWorld(t, func(w *world) {
		list := w.relays(2)
		a, b := relayedPair(w)
		time.Sleep(40 * time.Second)
		old, others := w.split(a, b, list)
		w.members(others...)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := old.server.HandOver(ctx); err != nil {
			t.Errorf("hand-over: %v", err)
		}
		old.vanish()
		w.split(a, b, others)
		w.split(b, a, others)
		exchange(w, a, b)
	})
}

// Two devices of the version before do not move, and are interrupted when the TRS
// has gone; what they have always done brings them back.
func TestDevicesOfTheVersionBeforeSurviveADrain(t *testing.T) {
	inWorld(t, func(w *world) {
		list := w.relays(2)
		a, b := relayedPair(w)
		b.echo = true
		w.deaf(pubA)
		w.deaf(pubB)
		stop := a.stream(b, 10*time.Millisecond)
		time.Sleep(3 * time.Second)
		old, others := w.split(a, b, list)
		index := a.session(b)
		w.members(others...)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		draining := time.Now()
		if err := old.server.HandOver(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hand-over without anybody who listens: %v", err)
		}
		old.server.Refuse()
		time.Sleep(20 * time.Second) // refreshes are answered on
		if gap := a.longestGap(draining); gap > 100*time.Millisecond || old.server.Residual() != 1 {
			t.Errorf("interrupted for %v while the TRS finishes, %d sessions", gap, old.server.Residual())
		}
		old.vanish()
		gone := time.Now()
		time.Sleep(20 * time.Second)
		stop()
		describe(w, "interrupted for %v", a.longestGap(gone))
		if gap := a.longestGap(gone); gap > 3*time.Second {
			t.Errorf("interrupted for %v", gap)
		}
		if a.session(b) != index {
			t.Error("the session is another one")
		}
	})
}

// The requirement: after kill -9 of a TRS, or of its host, an open stream goes on
// through another one within 3 s, although the NMS learns of it only later.
func TestAVanishedRelayIsReplaced(t *testing.T) {
	const learnt = 6 * time.Second // the lease of the replica and some more
	for _, tt := range []struct {
		name   string
		delay  time.Duration
		oneWay bool
		after  time.Duration // how long the session has been up
	}{
		{name: "traffic both ways", after: 5 * time.Second},
		{name: "traffic one way", oneWay: true, after: 5 * time.Second},
		{name: "soon after the connection", after: 300 * time.Millisecond},
		{name: "100 ms away", delay: 100 * time.Millisecond, after: 30 * time.Second},
	} {
		for phase := range 4 { // of the timers
			t.Run(fmt.Sprintf("%s, phase %d", tt.name, phase), func(t *testing.T) {
				inWorld(t, func(w *world) {
					list := w.relays(3)
					if tt.delay > 0 {
						w.net.SetDelay(tt.delay)
					}
					a, b := relayedPair(w)
					b.echo = !tt.oneWay
					stop := a.stream(b, 10*time.Millisecond)
					time.Sleep(tt.after + time.Duration(phase)*55*time.Millisecond)
					old, others := w.split(a, b, list)
					index := a.session(b)
					old.vanish()
					gone := time.Now()
					time.Sleep(learnt)
					w.members(others...)
					time.Sleep(20 * time.Second)
					stop()
					describe(w, "interrupted for %v", b.longestGap(gone))
					if gap := b.longestGap(gone); gap > 3*time.Second {
						t.Errorf("interrupted for %v", gap)
					}
					if gap := a.longestGap(gone); !tt.oneWay && gap > 3*time.Second {
						t.Errorf("the answers were interrupted for %v", gap)
					}
					w.split(a, b, others)
					w.split(b, a, others)
					if a.session(b) != index {
						t.Error("the session is another one")
					}
				})
			})
		}
	}
}

// A tunnel without traffic is whole again when somebody needs it, mostly.
func TestAnIdleTunnelLeavesAVanishedRelay(t *testing.T) {
	inWorld(t, func(w *world) {
		list := w.relays(2)
		a, b := relayedPair(w)
		time.Sleep(33 * time.Second)
		old, others := w.split(a, b, list)
		index := a.session(b)
		old.vanish()
		time.Sleep(18 * time.Second)
		w.split(a, b, others)
		w.split(b, a, others)
		exchange(w, a, b)
		if a.session(b) != index {
			t.Error("the session is another one")
		}
	})
}

// A relay that stands by for a direct path is let go, and asked for anew when it is needed.
func TestARelayThatStandsByIsLetGo(t *testing.T) {
	inWorld(t, func(w *world) {
		list := w.relays(2)
		a, b := natted(w)
		a.mustConnect(b)
		b.echo = true
		stop := a.stream(b, 10*time.Millisecond)
		time.Sleep(2 * time.Second)
		unblock := w.net.BlockPair(pubA, pubB)
		time.Sleep(5 * time.Second)
		old, others := w.split(a, b, list)
		unblock()
		time.Sleep(5 * time.Second)
		a.wantPath(b, "punched")
		w.members(others...)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := old.server.HandOver(ctx); err != nil {
			t.Errorf("hand-over: %v", err)
		}
		old.vanish()
		if n := a.searches(searchLeaving) + b.searches(searchLeaving); n != 0 {
			t.Errorf("%d searches for sessions with a direct path", n)
		}
		blocked := time.Now()
		defer w.net.BlockPair(pubA, pubB)()
		time.Sleep(10 * time.Second)
		stop()
		if gap := a.longestGap(blocked); gap > 3*time.Second {
			t.Errorf("the stream was interrupted for %v", gap)
		}
		w.split(a, b, others)
	})
}

// An NMS that knows no other replica names the one that is gone again and again. The
// device asks on, not too often, and goes on when there is an answer.
func TestTheSameRelayAgainIsAskedForWithBackOff(t *testing.T) {
	inWorld(t, func(w *world) {
		list := w.relays(2)
		w.members(list[0])
		a, b := relayedPair(w)
		stop := a.stream(b, 10*time.Millisecond)
		time.Sleep(3 * time.Second)
		directions := func() int {
			return int(testutil.ToFloat64(a.endpoint.metrics.directions.WithLabelValues("initiator", "relayed")))
		}
		before := directions()
		list[0].vanish()
		time.Sleep(time.Minute)
		if n := directions() - before; n < 10 || n > 60 {
			t.Errorf("%d directions in a minute without relay", n)
		}
		w.members(list[1])
		known := time.Now()
		time.Sleep(10 * time.Second)
		stop()
		if gap := b.longestGap(known); gap > 4*time.Second {
			t.Errorf("back %v after the NMS knew another relay", gap)
		}
	})
}

// A device that is alone with a TRS that restarts in place goes on with it.
func TestTheOnlyRelayRestarts(t *testing.T) {
	inWorld(t, func(w *world) {
		list := w.relays(1)
		a, b := relayedPair(w)
		b.echo = true
		stop := a.stream(b, 10*time.Millisecond)
		time.Sleep(3 * time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := list[0].server.HandOver(ctx); err == nil {
			t.Error("handed over to nobody")
		}
		list[0].stop()
		list[0].start()
		restarted := time.Now()
		time.Sleep(20 * time.Second)
		stop()
		if gap := a.longestGap(restarted); gap > 3*time.Second {
			t.Errorf("interrupted for %v", gap)
		}
	})
}

// Who sees notices can send them again, and who does not can make some up. Neither
// moves anybody.
func TestForgedAndOldNoticesMoveNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		list := w.relays(2)
		var binds, notices []netsim.Packet
		w.net.Watch(func(p netsim.Packet) {
			if m, err := wire.ParseRelayError(p.Payload); err == nil && m.Code == wire.RelayErrorLeaving && p.To.Addr() == pubA {
				notices = append(notices, p)
			}
			if _, err := wire.ParseRelayBind(p.Payload); err == nil && p.From.Addr() == pubA {
				binds = append(binds, p)
			}
		})
		a, b := relayedPair(w)
		b.echo = true
		stop := a.stream(b, 10*time.Millisecond)
		time.Sleep(3 * time.Second)

		last := binds[len(binds)-1]
		forged := wire.RelayError{Code: wire.RelayErrorLeaving, Nonce: must(wire.ParseRelayBind(last.Payload)).Nonce}.Append(nil)
		w.net.Inject(netsim.Packet{From: last.To, To: last.From, Payload: forged})
		time.Sleep(time.Second)
		if a.dropped(dropRelayMAC) != 1 || a.searches(searchLeaving) != 0 {
			t.Errorf("a forged notice: %d dropped, %d searches", a.dropped(dropRelayMAC), a.searches(searchLeaving))
		}

		old, others := w.split(a, b, list)
		w.members(others...)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := old.server.HandOver(ctx); err != nil {
			t.Fatal(err)
		}
		if a.searches(searchLeaving) != 1 || len(notices) == 0 {
			t.Fatalf("%d searches after %d notices", a.searches(searchLeaving), len(notices))
		}
		old.stop()
		old.start()
		others[0].vanish() // back to the first, which is a new process now
		w.members(old)
		time.Sleep(20 * time.Second)
		w.split(a, b, []*relayReplica{old})
		before, searches, replayed := a.dropped(dropNonce), a.searches(searchLeaving), notices
		for _, p := range replayed {
			w.net.Inject(p)
		}
		time.Sleep(5 * time.Second)
		stop()
		if got := a.dropped(dropNonce) - before; got != len(replayed) || a.searches(searchLeaving) != searches {
			t.Errorf("%d of %d old notices dropped, %d searches", got, len(replayed), a.searches(searchLeaving)-searches)
		}
	})
}
