package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/netsim"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

func TestConnectByTopology(t *testing.T) {
	for _, tt := range []struct {
		name         string
		hosts        func(n *netsim.Network) (a, b *netsim.Host)
		pathA, pathB string
	}{
		{"public hosts: direct", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.Host(pubA), n.Host(pubB)
		}, "direct", "direct"},
		{"one behind a NAT: punched", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.NAT(pubA, netsim.PortRestricted).Host(lanA), n.Host(pubB)
		}, "punched", "punched"},
		{"responder behind a NAT: punched", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.Host(pubA), n.NAT(pubB, netsim.PortRestricted).Host(lanB)
		}, "punched", "punched"},
		{"full cones: punched", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.NAT(pubA, netsim.FullCone).Host(lanA), n.NAT(pubB, netsim.FullCone).Host(lanB)
		}, "punched", "punched"},
		{"port-restricted cones: punched", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.NAT(pubA, netsim.PortRestricted).Host(lanA), n.NAT(pubB, netsim.PortRestricted).Host(lanB)
		}, "punched", "punched"},
		{"symmetric and restricted: punched", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.NAT(pubA, netsim.Symmetric).Host(lanA), n.NAT(pubB, netsim.Restricted).Host(lanB)
		}, "punched", "punched"},
		{"symmetric and port-restricted: relayed", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.NAT(pubA, netsim.Symmetric).Host(lanA), n.NAT(pubB, netsim.PortRestricted).Host(lanB)
		}, "relayed", "relayed"},
		{"two symmetric NATs: relayed", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.NAT(pubA, netsim.Symmetric).Host(lanA), n.NAT(pubB, netsim.Symmetric).Host(lanB)
		}, "relayed", "relayed"},
		{"IPv4 only and IPv6 only: relayed", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.NAT(pubA, netsim.PortRestricted).Host(lanA), n.Host(v6B)
		}, "relayed", "relayed"},
		{"dual stack and IPv6 only: direct", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.NAT(pubA, netsim.Symmetric).Host(lanA, v6A), n.Host(v6B)
		}, "direct", "direct"},
		{"the same LAN: direct", func(n *netsim.Network) (a, b *netsim.Host) {
			nat := n.NAT(pubA, netsim.PortRestricted)
			return nat.Host(lanA), nat.Host(lanB)
		}, "direct", "direct"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				hostA, hostB := tt.hosts(w.net)
				a, b := w.node("a", 1, hostA), w.node("b", 2, hostB)
				start := time.Now()
				p := a.mustConnect(b)
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("connecting took %v", took)
				}
				if p.Relayed != (tt.pathA == "relayed") {
					t.Errorf("Relayed = %v", p.Relayed)
				}
				time.Sleep(time.Second)
				a.wantPath(b, tt.pathA)
				b.wantPath(a, tt.pathB)
				exchange(w, a, b)
				time.Sleep(time.Minute) // and it stays
				a.wantPath(b, tt.pathA)
				exchange(w, a, b)
			})
		})
	}
}

// natted gives two nodes behind port-restricted NATs.
func natted(w *world) (a, b *device) {
	return w.node("a", 1, w.net.NAT(pubA, netsim.PortRestricted).Host(lanA)), w.node("b", 2, w.net.NAT(pubB, netsim.PortRestricted).Host(lanB))
}

func TestTrafficStartsTheConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		for n := range 100 {
			_ = a.tun.Send(packet(a.ipv4, b.ipv4, uint64(n)))
		}
		time.Sleep(3 * time.Second)
		if got := b.count(); got != maxHeld {
			t.Errorf("%d packets have arrived, want the %d that may be held", got, maxHeld)
		}
		for i, n := range b.received {
			if n != uint64(i) {
				t.Fatalf("packet %d arrives as number %d", n, i)
			}
		}
		if got := a.dropped(dropHeld); got != 100-maxHeld {
			t.Errorf("%d packets counted as %s", got, dropHeld)
		}
		exchange(w, a, b)
	})
}

func TestConnectFailures(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		c := w.newDevice("c", 3)
		w.contents.Subjects = append(w.contents.Subjects, &replica.Subject{
			Ref: replica.Ref{Plural: keyspace.Adapters, Name: "d"}, UID: "uid-d", Network: "home", FQDN: "d.home.example", IPv4: netip.MustParseAddr("10.64.0.9"),
		})
		w.publish()
		for _, tt := range []struct {
			name   string
			target wire.Target
			want   error
		}{
			{"no such name", wire.Target{FQDN: "nobody.home.example"}, ErrUnknown},
			{"no such address", wire.Target{Addr: netip.MustParseAddr("10.64.9.9")}, ErrUnknown},
			{"no target", wire.Target{}, ErrUnknown},
			{"itself", wire.Target{FQDN: a.fqdn}, ErrUnknown},
			{"not registered", wire.Target{FQDN: c.fqdn}, ErrOffline},
			{"no policy", wire.Target{FQDN: "d.home.example"}, ErrDenied},
		} {
			start := time.Now()
			_, err := a.local.Connect(w.t.Context(), tt.target)
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("%s: took %v", tt.name, took)
			}
		}
		w.stopNMS()
		start := time.Now()
		if _, err := a.connect(b); !errors.Is(err, ErrTimeout) {
			t.Errorf("without NMS: %v, want %v", err, ErrTimeout)
		}
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("without NMS: took %v", took)
		}
		w.startNMS()
	})
}

// A flood of packets to a peer that cannot be reached asks the NMS once a second.
func TestFailedTargetIsNotAskedForEveryPacket(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _ := natted(w)
		var asked atomic.Int64
		w.net.Watch(func(p netsim.Packet) {
			if p.To.Port() == nmsPort {
				asked.Add(1)
			}
		})
		for range 1000 {
			_ = a.tun.Send(packet(a.ipv4, netip.MustParseAddr("10.64.9.9"), 1))
			time.Sleep(10 * time.Millisecond)
		}
		if asked.Load() > 15 {
			t.Errorf("the NMS was asked %d times in 10 s", asked.Load())
		}
		if a.dropped(dropRefused) == 0 || a.dropped(dropTimeout) == 0 {
			t.Error("the packets are not counted")
		}
	})
}

func TestPacketsOutsideTheOverlayAreDropped(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _ := natted(w)
		_ = a.tun.Send(packet(a.ipv4, netip.MustParseAddr("8.8.8.8"), 1))
		_ = a.tun.Send(packet(netip.MustParseAddr("10.64.0.77"), netip.MustParseAddr("10.64.0.2"), 1))
		time.Sleep(time.Second)
		if a.dropped(dropDestination) != 1 || a.dropped(dropLocal) != 1 {
			t.Errorf("dropped %d by destination and %d by source, want 1 and 1", a.dropped(dropDestination), a.dropped(dropLocal))
		}
	})
}

func TestSimultaneousOpening(t *testing.T) {
	for round := range 5 { // other keys, other winners
		inWorld(t, func(w *world) {
			a, b := natted(w)
			done := make(chan error, 2)
			go func() { _, err := a.connect(b); done <- err }()
			go func() {
				time.Sleep(time.Duration(round) * 5 * time.Millisecond)
				_, err := b.connect(a)
				done <- err
			}()
			for range 2 {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
			exchange(w, a, b)
			time.Sleep(5 * time.Minute)
			exchange(w, a, b)
			if a.peer(b).Initiator == b.peer(a).Initiator {
				t.Error("the two ends send in different sessions")
			}
		})
	}
}

func TestManyIdentitiesOnOneMachine(t *testing.T) {
	inWorld(t, func(w *world) {
		viewer := w.node("viewer", 1, w.net.NAT(pubB, netsim.PortRestricted).Host(lanB))
		m := w.machine(w.net.NAT(pubA, netsim.PortRestricted).Host(lanA))
		defer m.stop()
		var cams []*device
		for n := range 100 {
			d := w.newDevice(fmt.Sprintf("cam%d", n), byte(n+10))
			d.machine = m
			d.local = must(m.endpoint.Add(Identity{Key: d.key, Grant: d.grant(24 * time.Hour)}))
			cams = append(cams, d)
		}
		var total atomic.Int64
		m.deliverTo(func([]byte) { total.Add(1) })
		for _, d := range cams {
			if err := d.local.WaitRegistered(w.t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range cams {
			viewer.mustConnect(d)
			_ = viewer.tun.Send(packet(viewer.ipv4, d.ipv4, 1))
		}
		time.Sleep(time.Second)
		if total.Load() != int64(len(cams)) {
			t.Errorf("%d of %d packets have arrived", total.Load(), len(cams))
		}
		if got := len(viewer.endpoint.Status().Locals[0].Peers); got != len(cams) {
			t.Errorf("%d peers", got)
		}
		if _, err := m.endpoint.Add(Identity{Key: cams[0].key, Grant: cams[0].grant(time.Hour)}); !errors.Is(err, ErrExists) {
			t.Errorf("the same virtual IP again: %v", err)
		}
		if l, ok := m.endpoint.Local(cams[7].ipv6); !ok || l != cams[7].local {
			t.Error("an identity is not found by its virtual IP")
		}
	})
}

// Two identities of one endpoint meet over the host's own address; where the
// host does not deliver to itself they could use the relay.
func TestTwoIdentitiesOfOneMachineReachEachOther(t *testing.T) {
	for _, behind := range []string{"NAT", "public"} {
		t.Run(behind, func(t *testing.T) {
			inWorld(t, func(w *world) {
				host := w.net.Host(pubA)
				if behind == "NAT" {
					host = w.net.NAT(pubB, netsim.PortRestricted).Host(lanA)
				}
				m := w.machine(host)
				defer m.stop()
				a, b := w.newDevice("cam1", 1), w.newDevice("cam2", 2)
				a.machine, b.machine = m, m
				a.local = must(m.endpoint.Add(Identity{Key: a.key, Grant: a.grant(24 * time.Hour)}))
				b.local = must(m.endpoint.Add(Identity{Key: b.key, Grant: b.grant(24 * time.Hour)}))
				m.deliverTo(b.take)
				a.mustConnect(b)
				for n := range 10 {
					_ = m.tun.Send(packet(a.ipv4, b.ipv4, uint64(n)))
				}
				time.Sleep(time.Second)
				if got := b.count(); got != 10 {
					t.Errorf("%d of 10 packets have arrived", got)
				}
				a.wantPath(b, "direct")
				b.wantPath(a, "direct")
			})
		})
	}
}

func TestClosedIdentityIsGoneAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		a.mustConnect(b)
		time.Sleep(time.Second)
		b.local.Close()
		b.local.Close()
		time.Sleep(100 * time.Millisecond)
		if a.hasSession(b) {
			t.Error("the peer keeps the session")
		}
		if _, err := a.connect(b); !errors.Is(err, ErrOffline) {
			t.Errorf("connect to a closed identity: %v", err)
		}
		if _, ok := b.endpoint.Local(b.ipv4); ok {
			t.Error("the virtual IP is still taken")
		}
		if _, err := b.connect(a); !errors.Is(err, ErrClosed) {
			t.Errorf("connect from a closed identity: %v", err)
		}
		b.local = must(b.endpoint.Add(Identity{Key: b.key, Grant: b.grant(time.Hour)}))
		if err := b.local.WaitRegistered(w.t.Context()); err != nil {
			t.Fatal(err)
		}
		a.mustConnect(b)
		exchange(w, a, b)
	})
}

func TestConnectEndsWithItsContextAndWithRun(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		w.stopNMS()
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		if _, err := a.local.Connect(ctx, wire.Target{FQDN: b.fqdn}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		done := make(chan error, 1)
		go func() { _, err := a.local.Connect(context.Background(), wire.Target{FQDN: b.fqdn}); done <- err }()
		time.Sleep(10 * time.Millisecond)
		a.stop()
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("after Run: %v", err)
		}
		if _, err := a.endpoint.Add(Identity{Key: a.key, Grant: a.grant(time.Hour)}); err == nil {
			t.Error("Add works after Run")
		}
		if len(a.endpoint.Status().Locals) != 0 {
			t.Error("status after Run is not empty")
		}
	})
}

func TestConnectSurvivesLoss(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		w.net.SetLoss(0.2)
		if _, err := a.connect(b); err != nil { // one attempt in thirty finds no way in its time
			a.mustConnect(b)
		}
		stop := a.stream(b, 20*time.Millisecond)
		time.Sleep(10 * time.Minute)
		sent := stop()
		if got := b.count(); got < sent*70/100 {
			t.Errorf("%d of %d packets have arrived at 20 %% loss", got, sent)
		}
		if gap := b.longestGap(b.at[0]); gap > 4*time.Second {
			t.Errorf("longest interruption %v", gap)
		}
		describe(w, "longest interruption %v, %d path changes, path %s", b.longestGap(b.at[0]), a.peer(b).PathChanges, a.peer(b).Path)
	})
}

// The NMS takes no ticket of a device that has been made anew, and tells nobody
// why: the device logs in again by itself.
func TestADeviceMadeAnewLogsInAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		a.mustConnect(b)
		b.subject.UID = "uid-of-the-new-b"
		w.publish()
		time.Sleep(90 * time.Second) // a keep-alive, its repetitions, and the login
		if n := testutil.ToFloat64(b.endpoint.metrics.renewals.WithLabelValues("ok")); n != 1 {
			t.Errorf("%v logins, want 1", n)
		}
		a.mustConnect(b)
		exchange(w, a, b)
	})
}

// While the NMS is away the logins become rare: the AS must not suffer for it.
func TestALongSilenceOfTheNMSMakesFewLogins(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.node("a", 1, w.net.Host(pubA))
		w.stopNMS()
		defer w.startNMS()
		time.Sleep(30 * time.Minute)
		if n := testutil.ToFloat64(a.endpoint.metrics.renewals.WithLabelValues("ok")); n < 1 || n > 3 {
			t.Errorf("%v logins in 30 minutes", n)
		}
	})
}
