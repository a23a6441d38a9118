package endpoint

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/netsim"
	"github.com/cyphonic/cyphonic/internal/tunnel"
)

// The requirement: an open stream goes on through the relay within 3 s after
// the direct path is gone, in the same session, and comes back.
func TestBlockedDirectPathGoesToTheRelayAndBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		echo bool
	}{{"traffic both ways", true}, {"traffic one way", false}} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a, b := natted(w)
				a.mustConnect(b)
				b.echo = tt.echo
				stop := a.stream(b, 10*time.Millisecond)
				time.Sleep(5 * time.Second)
				a.wantPath(b, "punched")
				index := a.session(b)

				blocked := time.Now()
				unblock := w.net.BlockPair(pubA, pubB)
				time.Sleep(10 * time.Second)
				gap := b.longestGap(blocked)
				describe(w, "interruption when blocked: %v", gap)
				if gap > 3*time.Second {
					t.Errorf("the stream was interrupted for %v, want at most 3 s", gap)
				}
				a.wantPath(b, "relayed")
				b.wantPath(a, "relayed")
				if a.session(b) != index {
					t.Error("the session is another one")
				}

				unblocked := time.Now()
				unblock()
				time.Sleep(6 * time.Second)
				a.wantPath(b, "punched")
				b.wantPath(a, "punched")
				if gap := b.longestGap(unblocked); gap > 100*time.Millisecond {
					t.Errorf("the way back interrupted the stream for %v", gap)
				}
				if a.session(b) != index {
					t.Error("the session is another one")
				}
				sent := stop()
				time.Sleep(time.Second)
				lost := sent - b.count()
				describe(w, "%d of %d packets lost", lost, sent)
				if want := int(gap/(10*time.Millisecond)) + 5; lost > want {
					t.Errorf("%d packets lost, want at most those of the interruption (%d)", lost, want)
				}
			})
		})
	}
}

// session is the local index of the session with a peer. Only the endpoint's
// own goroutine may look.
func (d *device) session(with *device) uint32 {
	d.w.t.Helper()
	result := make(chan uint32, 1)
	_ = d.endpoint.post(func(time.Time) {
		var index uint32
		if p := d.local.peers[with.local.NodeID()]; p != nil && p.session != nil {
			index = p.session.LocalIndex()
		}
		result <- index
	})
	index := <-result
	if index == 0 {
		d.w.t.Fatalf("%s has no session with %s", d.fqdn, with.fqdn)
	}
	return index
}

func TestBlockedPathWithoutTRSComesBack(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		a.mustConnect(b)
		w.stopTRS()
		stop := a.stream(b, 10*time.Millisecond)
		time.Sleep(2 * time.Second)
		unblock := w.net.BlockPair(pubA, pubB)
		time.Sleep(30 * time.Second)
		if a.peer(b).Working {
			t.Error("the status says that the path works")
		}
		unblock()
		unblocked := time.Now()
		time.Sleep(3 * time.Second)
		stop()
		if gap := b.longestGap(unblocked); gap > time.Second {
			t.Errorf("back after %v", gap)
		}
		w.startTRS()
	})
}

var newB = netip.MustParseAddr("203.0.113.77")

// addressChange is one way in which the real address of b changes.
type addressChange struct {
	name   string
	hosts  func(n *netsim.Network) (a, b *netsim.Host, nat *netsim.NAT)
	change func(w *world, b *device, nat *netsim.NAT)
	most   time.Duration
}

var addressChanges = []addressChange{
	{"announced, peer public", func(n *netsim.Network) (a, b *netsim.Host, nat *netsim.NAT) {
		return n.Host(pubA), n.Host(pubB), nil
	}, func(w *world, b *device, nat *netsim.NAT) {
		b.host.SetAddrs(newB)
		b.endpoint.AddressesChanged()
	}, 500 * time.Millisecond},
	{"unnoticed, peer public", func(n *netsim.Network) (a, b *netsim.Host, nat *netsim.NAT) {
		return n.Host(pubA), n.Host(pubB), nil
	}, func(w *world, b *device, nat *netsim.NAT) {
		b.host.SetAddrs(newB)
	}, 3 * time.Second},
	{"announced, peer behind a strict NAT", func(n *netsim.Network) (a, b *netsim.Host, nat *netsim.NAT) {
		return n.NAT(pubA, netsim.PortRestricted).Host(lanA), n.Host(pubB), nil
	}, func(w *world, b *device, nat *netsim.NAT) {
		b.host.SetAddrs(newB)
		b.endpoint.AddressesChanged()
	}, 3 * time.Second},
	{"into another NAT", func(n *netsim.Network) (a, b *netsim.Host, nat *netsim.NAT) {
		return n.NAT(pubA, netsim.PortRestricted).Host(lanA), n.Host(pubB), n.NAT(newB, netsim.PortRestricted)
	}, func(w *world, b *device, nat *netsim.NAT) {
		b.host.Move(nat, lanB)
		b.endpoint.AddressesChanged()
	}, 3 * time.Second},
	{"the NAT forgets its mappings", func(n *netsim.Network) (a, b *netsim.Host, nat *netsim.NAT) {
		nat = n.NAT(pubB, netsim.PortRestricted)
		return n.Host(pubA), nat.Host(lanB), nat
	}, func(w *world, b *device, nat *netsim.NAT) {
		nat.Forget()
	}, 3 * time.Second},
	{"both NATs strict, one forgets", func(n *netsim.Network) (a, b *netsim.Host, nat *netsim.NAT) {
		nat = n.NAT(pubB, netsim.PortRestricted)
		return n.NAT(pubA, netsim.PortRestricted).Host(lanA), nat.Host(lanB), nat
	}, func(w *world, b *device, nat *netsim.NAT) {
		nat.Forget()
	}, 3 * time.Second},
	{"from IPv4 to IPv6", func(n *netsim.Network) (a, b *netsim.Host, nat *netsim.NAT) {
		return n.Host(pubA, v6A), n.Host(pubB), nil
	}, func(w *world, b *device, nat *netsim.NAT) {
		b.host.SetAddrs(v6B)
		b.endpoint.AddressesChanged()
	}, 3 * time.Second},
	{"while relayed", func(n *netsim.Network) (a, b *netsim.Host, nat *netsim.NAT) {
		return n.NAT(pubA, netsim.Symmetric).Host(lanA), n.NAT(pubB, netsim.Symmetric).Host(lanB), n.NAT(newB, netsim.Symmetric)
	}, func(w *world, b *device, nat *netsim.NAT) {
		b.host.Move(nat, lanB)
		b.endpoint.AddressesChanged()
	}, 500 * time.Millisecond},
}

func TestAddressChangeKeepsTheSession(t *testing.T) {
	for _, tt := range addressChanges {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				hostA, hostB, nat := tt.hosts(w.net)
				a, b := w.node("a", 1, hostA), w.node("b", 2, hostB)
				a.mustConnect(b)
				b.echo = true
				stopA := a.stream(b, 10*time.Millisecond)
				time.Sleep(3 * time.Second)
				index := a.session(b)
				changed := time.Now()
				tt.change(w, b, nat)
				time.Sleep(15 * time.Second)
				stopA()
				describe(w, "interruption: a→b %v, echo %v, then %s", b.longestGap(changed), a.longestGap(changed), a.peer(b).Path)
				if gap := b.longestGap(changed); gap > tt.most {
					t.Errorf("the stream was interrupted for %v, want at most %v", gap, tt.most)
				}
				if gap := a.longestGap(changed); gap > tt.most+100*time.Millisecond {
					t.Errorf("the answers were interrupted for %v, want at most %v", gap, tt.most)
				}
				if a.session(b) != index {
					t.Error("the session is another one")
				}
			})
		})
	}
}

func TestRelayRestartIsSurvived(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.node("a", 1, w.net.NAT(pubA, netsim.Symmetric).Host(lanA))
		b := w.node("b", 2, w.net.NAT(pubB, netsim.Symmetric).Host(lanB))
		a.mustConnect(b)
		b.echo = true
		stop := a.stream(b, 10*time.Millisecond)
		time.Sleep(3 * time.Second)
		w.stopTRS()
		time.Sleep(10 * time.Second)
		w.startTRS()
		started := time.Now()
		time.Sleep(10 * time.Second)
		stop()
		gap := b.longestGap(started)
		describe(w, "back %v after the restart", gap)
		if gap > 4*time.Second {
			t.Errorf("back after %v", gap)
		}
	})
}

// A TRS that has restarted knows no binding; the ends bind again by themselves.
func TestQuickRelayRestartKeepsTheSession(t *testing.T) {
	t.Run("with NMS", func(t *testing.T) { quickRelayRestart(t, true) })
	t.Run("without NMS", func(t *testing.T) { quickRelayRestart(t, false) })
}

func quickRelayRestart(t *testing.T, withNMS bool) {
	inWorld(t, func(w *world) {
		a := w.node("a", 1, w.net.NAT(pubA, netsim.Symmetric).Host(lanA))
		b := w.node("b", 2, w.net.NAT(pubB, netsim.Symmetric).Host(lanB))
		a.mustConnect(b)
		b.echo = true
		stop := a.stream(b, 10*time.Millisecond)
		time.Sleep(3 * time.Second)
		index := a.session(b)
		if !withNMS {
			w.stopNMS()
			defer w.startNMS()
		}
		w.stopTRS()
		w.startTRS()
		restarted := time.Now()
		time.Sleep(10 * time.Second)
		stop()
		if gap := b.longestGap(restarted); gap > 3*time.Second {
			t.Errorf("the stream was interrupted for %v", gap)
		}
		if a.session(b) != index {
			t.Error("the session is another one")
		}
	})
}

func TestRekeyLosesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		a.mustConnect(b)
		b.echo = true
		stop := a.stream(b, 10*time.Millisecond)
		sessions := map[uint32]bool{}
		for range 40 {
			time.Sleep(10 * time.Second)
			sessions[a.session(b)] = true
			if age := a.peer(b).EpochSeconds; age > (tunnel.RekeyAfter + time.Second).Seconds() {
				t.Errorf("keys are %v s old", age)
			}
		}
		sent := stop()
		time.Sleep(time.Second)
		if len(sessions) != 4 {
			t.Errorf("%d sessions in 400 s, want 4", len(sessions))
		}
		if b.count() != sent || a.count() != sent {
			t.Errorf("%d sent, %d received, %d answers", sent, b.count(), a.count())
		}
		for i, n := range a.received {
			if n != uint64(i) {
				t.Fatalf("answer %d arrives as number %d", n, i)
			}
		}
		if changes := a.peer(b).PathChanges; changes != 0 {
			t.Errorf("%d path changes", changes)
		}
	})
}

func TestIdleSessionEnds(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		a.mustConnect(b)
		exchange(w, a, b)
		time.Sleep(idleAfter - time.Minute)
		if !a.hasSession(b) {
			t.Error("the session has ended early")
		}
		time.Sleep(2 * time.Minute)
		if a.hasSession(b) || b.hasSession(a) {
			t.Error("the idle session goes on")
		}
		before := b.count()
		_ = a.tun.Send(packet(a.ipv4, b.ipv4, 1))
		time.Sleep(2 * time.Second)
		if !a.hasSession(b) || b.count() != before+1 {
			t.Error("traffic does not bring it back")
		}
	})
}

func TestPeerRestartIsNoticed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hosts func(n *netsim.Network) (a, b *netsim.Host)
	}{
		{"direct", func(n *netsim.Network) (a, b *netsim.Host) { return n.Host(pubA), n.Host(pubB) }},
		{"punched", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.NAT(pubA, netsim.PortRestricted).Host(lanA), n.NAT(pubB, netsim.PortRestricted).Host(lanB)
		}},
		{"relayed", func(n *netsim.Network) (a, b *netsim.Host) {
			return n.NAT(pubA, netsim.Symmetric).Host(lanA), n.NAT(pubB, netsim.Symmetric).Host(lanB)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				hostA, hostB := tt.hosts(w.net)
				a, b := w.node("a", 1, hostA), w.node("b", 2, hostB)
				a.mustConnect(b)
				stop := a.stream(b, 10*time.Millisecond)
				time.Sleep(3 * time.Second)
				b.host.SetDown(true) // kill -9: no farewell leaves
				b.stop()
				b.host.SetDown(false)
				before := b.count()
				b.start(w.machine(b.host))
				restarted := time.Now()
				time.Sleep(15 * time.Second)
				stop()
				gap := b.longestGap(restarted)
				describe(w, "back %v after the restart", gap)
				if b.count() == before || gap > 2*time.Second {
					t.Errorf("%d packets after the restart, the first after %v", b.count()-before, gap)
				}
				time.Sleep(time.Second)
				exchange(w, a, b)
			})
		})
	}
}

func TestNMSOutageStopsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		c := w.node("c", 3, w.net.Host(netip.MustParseAddr("203.0.113.3")))
		a.mustConnect(b)
		b.echo = true
		stop := a.stream(b, 10*time.Millisecond)
		time.Sleep(time.Second)
		w.stopNMS()
		outage := time.Now()
		time.Sleep(10 * time.Minute) // five rekeys and the end of the registration
		if gap := a.longestGap(outage); gap > 50*time.Millisecond {
			t.Errorf("the stream was interrupted for %v", gap)
		}
		if a.endpoint.Status().Locals[0].Registered {
			t.Error("still registered after 10 minutes")
		}
		if _, err := a.connect(c); !errors.Is(err, ErrTimeout) {
			t.Errorf("a new peer without NMS: %v", err)
		}
		w.startNMS()
		time.Sleep(20 * time.Second)
		for _, d := range []*device{a, b, c} {
			if !d.endpoint.Status().Locals[0].Registered {
				t.Errorf("%s has not registered again", d.fqdn)
			}
		}
		a.mustConnect(c)
		stop()
	})
}

// A restarted NMS knows nobody. The first request makes the device register
// again at once, without waiting for the next keep-alive.
func TestConnectRightAfterAnNMSRestart(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		w.stopNMS()
		w.startNMS()
		time.Sleep(30 * time.Second) // b's keep-alive
		w.stopNMS()
		w.startNMS()
		// Neither is known now: a comes with its request, b with its keep-alive.
		start := time.Now()
		if _, err := a.connect(b); !errors.Is(err, ErrOffline) || time.Since(start) > 100*time.Millisecond {
			t.Errorf("%v after %v, want %v at once", err, time.Since(start), ErrOffline)
		}
		time.Sleep(30 * time.Second)
		a.mustConnect(b)
	})
}

// A peer that was known can be reached again while the NMS is away.
func TestKnownPeerIsReachedWithoutNMS(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		a.mustConnect(b)
		time.Sleep(idleAfter + time.Minute)
		if a.hasSession(b) {
			t.Fatal("the session has not ended")
		}
		w.stopNMS()
		a.mustConnect(b)
		exchange(w, a, b)
		w.startNMS()
	})
}
