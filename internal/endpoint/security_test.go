package endpoint

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/netsim"
	"github.com/cyphonic/cyphonic/internal/signaling"
	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// tap keeps the datagrams of the core, by type.
type tap struct {
	mu     sync.Mutex
	byType map[wire.Type][]netsim.Packet
}

func newTap(w *world) *tap {
	tp := &tap{byType: make(map[wire.Type][]netsim.Packet)}
	w.net.Watch(func(p netsim.Packet) {
		tp.mu.Lock()
		defer tp.mu.Unlock()
		if t, err := wire.PeekType(p.Payload); err == nil {
			tp.byType[t] = append(tp.byType[t], p)
		}
	})
	return tp
}

// last is the latest datagram of a type to a host.
func (tp *tap) last(t *testing.T, kind wire.Type, to netip.Addr) netsim.Packet {
	t.Helper()
	tp.mu.Lock()
	defer tp.mu.Unlock()
	list := tp.byType[kind]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].To.Addr() == to {
			return list[i]
		}
	}
	t.Fatalf("no %v to %v was seen", kind, to)
	return netsim.Packet{}
}

func (tp *tap) count(kind wire.Type, from netip.Addr) (n int) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	for _, p := range tp.byType[kind] {
		if p.From.Addr() == from {
			n++
		}
	}
	return n
}

// all is the number of datagrams that a host has sent.
func (tp *tap) all(from netip.Addr) (n int) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	for _, list := range tp.byType {
		for _, p := range list {
			if p.From.Addr() == from {
				n++
			}
		}
	}
	return n
}

var attacker = netip.MustParseAddrPort("203.0.113.66:6666")

func TestForgedAndReplayedDatagramsDoNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		tp := newTap(w)
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		a.mustConnect(b)
		b.mustConnect(a)
		exchange(w, a, b)
		time.Sleep(3 * time.Second) // until nothing is sent any more
		index, path := a.session(b), a.peer(b).Address
		reply := tp.last(t, wire.TypeSignalReply, pubA)
		target := reply.To
		tag := binary.BigEndian.Uint32(reply.Payload[4:])

		forger := identity.NewSignalKeys([32]byte{6, 6, 6})
		body := wire.RouteDirection{Echo: 1, DirectionID: 2, Initiator: true, Kind: wire.RouteDirect, Direction: wire.Direction{PeerCertificate: []byte{1}}}
		forged := forger.SealReply(nil, tag, [24]byte{1}, body.AppendBody(nil))
		foreign := forger.SealReply(nil, tag+1, [24]byte{1}, body.AppendBody(nil))
		flipped := bytes.Clone(reply.Payload)
		flipped[len(flipped)-1] ^= 1
		initiator := must(tunnel.NewInitiator(tunnel.Config{
			Key: b.key, Certificate: b.grant(time.Hour).Certificate, Rand: rand.Reader,
			Verify: func([]byte) (*identity.Certificate, error) { return nil, errors.New("unused") },
		}, a.key.Public(), tag, 77))
		badMAC := bytes.Clone(initiator.Message())
		badMAC[len(badMAC)-20] ^= 1
		otherTag := bytes.Clone(initiator.Message())
		otherTag[11] ^= 1
		bound := wire.RelayBound{Nonce: 7, Channel: 9, TTL: 60}.Append(nil)
		data := append(wire.AppendDataHeader(nil, 0, 4711, 1), make([]byte, 40)...)
		kem := append(wire.AppendDataHeader(nil, wire.FlagControl|wire.FlagHandshake, 4711, 1), make([]byte, 40)...)

		for _, tt := range []struct {
			name   string
			b      []byte
			reason string
		}{
			{"route direction with another key", forged, dropAuth},
			{"reply for a foreign tag", foreign, dropTag},
			{"replayed reply", reply.Payload, dropReplay},
			{"reply with a flipped bit", flipped, dropAuth},
			{"truncated reply", reply.Payload[:30], dropMalformed},
			{"handshake with a wrong MAC", badMAC, dropMAC},
			{"handshake for an unknown tag", otherTag, dropTag},
			{"truncated handshake", initiator.Message()[:100], dropMalformed},
			{"response to no handshake", wire.HandshakeResponse{ReceiverIndex: 4711, EncPayload: make([]byte, 40)}.Append(nil), dropIndex},
			{"cookie for no handshake", wire.CookieReply{ReceiverIndex: 4711}.Append(nil), dropIndex},
			{"data of no session", data, dropSession},
			{"KEM message of no handshake", kem, dropIndex},
			{"relay bound for nobody", bound, dropNonce},
			{"relay challenge for nobody", wire.RelayChallenge{Nonce: 7}.Append(nil), dropNonce},
			{"a node's own message", wire.Signal{ReceiverTag: tag, Ticket: []byte{1}, Ciphertext: make([]byte, 20)}.Append(nil), dropType},
			{"punch", wire.Punch{Nonce: 1}.Append(nil), dropPunch},
		} {
			before, sent := a.dropped(tt.reason), tp.all(pubA)
			w.net.Inject(netsim.Packet{From: attacker, To: target, Payload: tt.b})
			time.Sleep(100 * time.Millisecond)
			if got := a.dropped(tt.reason) - before; got != 1 {
				t.Errorf("%s: %d drops with reason %s, want 1", tt.name, got, tt.reason)
			}
			if got := tp.all(pubA) - sent; got != 0 {
				t.Errorf("%s: %d datagrams in answer", tt.name, got)
			}
			if a.session(b) != index || a.peer(b).Address != path {
				t.Fatalf("%s: session or path has changed", tt.name)
			}
		}
		exchange(w, a, b)
	})
}

func TestForgedRelayAnswersAreDropped(t *testing.T) {
	inWorld(t, func(w *world) {
		tp := newTap(w)
		a := w.node("a", 1, w.net.NAT(pubA, netsim.Symmetric).Host(lanA))
		b := w.node("b", 2, w.net.NAT(pubB, netsim.Symmetric).Host(lanB))
		a.mustConnect(b)
		real := tp.last(t, wire.TypeRelayBound, pubA)
		m, err := wire.ParseRelayBound(real.Payload)
		if err != nil {
			t.Fatal(err)
		}
		address := a.peer(b).Address
		m.Channel++
		m.MAC = [16]byte{}
		w.net.Inject(netsim.Packet{From: real.From, To: real.To, Payload: m.Append(nil)})
		w.net.Inject(netsim.Packet{From: real.From, To: real.To, Payload: real.Payload})
		time.Sleep(100 * time.Millisecond)
		if a.dropped(dropRelayMAC) != 1 || a.dropped(dropDuplicate) != 1 {
			t.Errorf("dropped %d by MAC and %d as duplicate, want 1 and 1", a.dropped(dropRelayMAC), a.dropped(dropDuplicate))
		}
		if a.peer(b).Address != address {
			t.Error("the relay has changed")
		}
		exchange(w, a, b)
	})
}

// A captured handshake makes the responder answer once more and nothing else.
func TestReplayedHandshakeLeavesTheSessionAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		tp := newTap(w)
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		b.mustConnect(a)
		time.Sleep(time.Second)
		init := tp.last(t, wire.TypeHandshakeInit, pubA)
		index := a.session(b)
		stop := b.stream(a, 10*time.Millisecond)
		time.Sleep(20 * time.Second) // the handshake's own state is gone
		for range 50 {
			w.net.Inject(netsim.Packet{From: attacker, To: init.To, Payload: init.Payload})
			time.Sleep(200 * time.Millisecond)
		}
		sent := stop()
		time.Sleep(time.Second)
		if a.count() != sent {
			t.Errorf("%d of %d packets have arrived", a.count(), sent)
		}
		if a.session(b) != index || a.peer(b).Address.Addr() != pubB {
			t.Error("session or path has changed")
		}
		if n := a.handshakeState(); n > maxResponses {
			t.Errorf("%d handshakes are kept", n)
		}
		time.Sleep(2 * handshakeTimeout)
		if n := a.handshakeState(); n != 0 {
			t.Errorf("%d handshakes are kept for ever", n)
		}
	})
}

// handshakeState is the number of handshakes that the endpoint remembers.
func (m *machine) handshakeState() int {
	result := make(chan int, 1)
	e := m.endpoint
	_ = e.post(func(time.Time) { result <- max(len(e.responses), len(e.answered)) + len(e.initiations) })
	return <-result
}

// A certificate is not enough: the NMS must have named the peer.
func TestHandshakeOfAnUnnamedPeerIsDropped(t *testing.T) {
	inWorld(t, func(w *world) {
		tp := newTap(w)
		a := w.node("a", 1, w.net.Host(pubA))
		stranger := w.newDevice("stranger", 9)
		reply := tp.last(t, wire.TypeSignalReply, pubA)
		initiator := must(tunnel.NewInitiator(tunnel.Config{
			Key: stranger.key, Certificate: stranger.grant(time.Hour).Certificate, Rand: rand.Reader,
			Verify: func([]byte) (*identity.Certificate, error) { return nil, errors.New("unused") },
		}, a.key.Public(), binary.BigEndian.Uint32(reply.Payload[4:]), 77))
		sent := tp.all(pubA)
		w.net.Inject(netsim.Packet{From: attacker, To: reply.To, Payload: initiator.Message()})
		time.Sleep(100 * time.Millisecond)
		if a.dropped(dropUnauthorised) != 1 || tp.all(pubA) != sent || a.handshakeState() != 0 {
			t.Errorf("%d drops, %d datagrams in answer, %d handshakes kept", a.dropped(dropUnauthorised), tp.all(pubA)-sent, a.handshakeState())
		}
	})
}

// What the NMS has said once holds for some hours and not for ever.
func TestAuthorisationOfAPeerEnds(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		a.mustConnect(b)
		time.Sleep(authorised - time.Minute)
		a.authorise(b, 10*time.Minute)
		time.Sleep(2 * time.Minute)
		w.stopNMS()
		defer w.startNMS()
		if _, err := a.connect(b); !errors.Is(err, ErrTimeout) {
			t.Errorf("connect to one that has forgotten: %v", err)
		}
		if b.dropped(dropUnauthorised) == 0 {
			t.Error("the handshake is not counted as unauthorised")
		}
		b.authorise(a, 10*time.Minute)
		a.mustConnect(b)
	})
}

// authorise changes until when a peer is taken for named by the NMS, and makes
// a record of it if it has been forgotten.
func (d *device) authorise(peer *device, life time.Duration) {
	done := make(chan struct{})
	_ = d.endpoint.post(func(now time.Time) {
		defer close(done)
		p := d.local.peers[peer.local.NodeID()]
		if p == nil {
			direction := wire.Direction{PeerCertificate: peer.grant(time.Hour).Certificate, PeerTag: peer.local.tag}
			var err error
			if p, err = d.local.learn(now, direction, purpose{}); err != nil {
				d.w.t.Errorf("learn: %v", err)
				return
			}
		}
		p.authorisedUntil = now.Add(life)
		p.plan(now)
	})
	<-done
}

// Under a flood strangers get cookies, no public-key work is done for those who
// do not return them, and a real peer still gets in.
func TestFloodOfHandshakesNeedsCookies(t *testing.T) {
	inWorld(t, func(w *world) {
		tp := newTap(w)
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		reply := tp.last(t, wire.TypeSignalReply, pubA)
		stranger := w.newDevice("stranger", 9)
		cfg := tunnel.Config{
			Key: stranger.key, Certificate: stranger.grant(time.Hour).Certificate, Rand: rand.Reader,
			Verify: func([]byte) (*identity.Certificate, error) { return nil, errors.New("unused") },
		}
		var flood [][]byte
		for i := range 300 {
			flood = append(flood, must(tunnel.NewInitiator(cfg, a.key.Public(), binary.BigEndian.Uint32(reply.Payload[4:]), uint32(i+1))).Message())
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for n := 0; ctx.Err() == nil; n++ {
				from := netip.AddrPortFrom(attacker.Addr(), uint16(n))
				w.net.Inject(netsim.Packet{From: from, To: reply.To, Payload: flood[n%len(flood)]})
				time.Sleep(2 * time.Millisecond)
			}
		}()
		time.Sleep(time.Second)
		b.mustConnect(a)
		time.Sleep(time.Second)
		cancel()
		<-done
		if worked := a.dropped(dropUnauthorised); worked > 3*freeHandshakes+3 {
			t.Errorf("public-key work for %d strangers in 2 s", worked)
		}
		if a.dropped(dropCookie) < 500 || tp.count(wire.TypeCookieReply, pubA) < 500 {
			t.Errorf("%d drops and %d cookies for 1000 handshakes", a.dropped(dropCookie), tp.count(wire.TypeCookieReply, pubA))
		}
		time.Sleep(time.Second)
		exchange(w, a, b)
	})
}

// An attacker on the path takes a packet away and sends it from elsewhere: the
// session must not follow it there.
func TestRedirectedPacketIsNotFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		a.mustConnect(b)
		b.echo = true
		time.Sleep(time.Second)
		w.net.Host(attacker.Addr())
		taken := make(chan netsim.Packet, 1000)
		seen, redirected := 0, 0
		unblock := w.net.Block(func(p netsim.Packet) bool {
			if p.From.Addr() != pubB || p.To.Addr() != pubA || p.Payload[0] != byte(wire.TypeData) {
				return false
			}
			if seen++; seen%7 != 0 {
				return false
			}
			taken <- p
			return true
		})
		stop := a.stream(b, 10*time.Millisecond)
		for range 20 {
			time.Sleep(200 * time.Millisecond)
			for len(taken) > 0 {
				p := <-taken
				redirected++
				w.net.Inject(netsim.Packet{From: attacker, To: p.To, Payload: p.Payload})
			}
			if got := a.peer(b).Address.Addr(); got == attacker.Addr() {
				t.Errorf("the session follows to %v", got)
			}
		}
		unblock()
		stop()
		if redirected < 20 {
			t.Errorf("only %d packets were redirected", redirected)
		}
	})
}

func TestTicketsAreRenewed(t *testing.T) {
	inWorld(t, func(w *world) {
		host := w.net.Host(pubA)
		d := w.newDevice("a", 1)
		d.machine = w.machine(host)
		w.devices = append(w.devices, d)
		var calls atomic.Int64
		var working atomic.Bool
		first := d.grant(time.Hour)
		d.local = must(d.endpoint.Add(Identity{Key: d.key, Grant: first, Renew: func(ctx context.Context) (*login.Grant, error) {
			calls.Add(1)
			if !working.Load() {
				return nil, errors.New("the AS is away")
			}
			return d.grant(time.Hour), nil
		}}))
		time.Sleep(24 * time.Minute)
		if n := calls.Load(); n != 0 {
			t.Errorf("%d attempts in the first 24 minutes", n)
		}
		time.Sleep(7 * time.Minute)
		if n := calls.Load(); n < 2 || n > 20 {
			t.Errorf("%d attempts after 31 minutes, without AS", n)
		}
		working.Store(true)
		time.Sleep(10 * time.Minute)
		if got := d.endpoint.Status().Locals[0].NotAfter; !got.After(first.NotAfter) {
			t.Errorf("the ticket still ends at %v", got)
		}
		time.Sleep(50 * time.Minute)
		if !d.endpoint.Status().Locals[0].Registered {
			t.Error("not registered after the end of the first ticket")
		}
		if n := testutil.ToFloat64(d.endpoint.metrics.renewals.WithLabelValues("ok")); n < 1 {
			t.Errorf("%v renewals counted", n)
		}
	})
}

func TestAddRefusesBadIdentities(t *testing.T) {
	inWorld(t, func(w *world) {
		d := w.newDevice("a", 1)
		m := w.machine(w.net.Host(pubA))
		defer m.stop()
		other := must(identity.NewDeviceKey(rand.Reader))
		flipped := d.grant(time.Hour)
		flipped.Certificate = bytes.Clone(flipped.Certificate)
		flipped.Certificate[len(flipped.Certificate)-1] ^= 1
		noIssuer := d.grant(time.Hour)
		noIssuer.Issuers = nil
		expired := d.grant(time.Hour)
		time.Sleep(2 * time.Hour)
		for _, tt := range []struct {
			name     string
			identity Identity
		}{
			{"nothing", Identity{}},
			{"another key", Identity{Key: other, Grant: d.grant(time.Hour)}},
			{"forged certificate", Identity{Key: d.key, Grant: flipped}},
			{"no issuer", Identity{Key: d.key, Grant: noIssuer}},
			{"expired", Identity{Key: d.key, Grant: expired}},
		} {
			if _, err := m.endpoint.Add(tt.identity); err == nil {
				t.Errorf("%s: accepted", tt.name)
			}
		}
	})
}

// A dishonest NMS answers with a valid certificate of somebody else: nobody may
// be taken for the device that was asked for.
func TestDirectionToAnotherDeviceThanAskedForIsDropped(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.node("a", 1, w.net.Host(pubA)), w.node("b", 2, w.net.Host(pubB))
		other, foreign := w.newDevice("other", 3), w.newDevice("foreign", 4)
		foreign.subject.Network = "elsewhere"
		w.stopNMS()
		defer w.startNMS()
		for _, tt := range []struct {
			name   string
			target wire.Target
			answer *device
		}{
			{"name", wire.Target{FQDN: b.fqdn}, other},
			{"IPv4 address", wire.Target{Addr: b.ipv4}, other},
			{"IPv6 address", wire.Target{Addr: b.ipv6}, other},
			{"another network", wire.Target{FQDN: foreign.fqdn}, foreign},
		} {
			result := make(chan error, 1)
			go func() {
				_, err := a.local.Connect(context.Background(), tt.target)
				result <- err
			}()
			time.Sleep(10 * time.Millisecond)
			before := a.dropped(dropCertificate)
			a.direct(tt.answer)
			if err := <-result; !errors.Is(err, ErrDenied) {
				t.Errorf("%s: connect: %v, want ErrDenied", tt.name, err)
			}
			if got := a.dropped(dropCertificate) - before; got != 1 {
				t.Errorf("%s: %d drops, want 1", tt.name, got)
			}
			if a.knows(tt.answer) {
				t.Errorf("%s: the other device is authorised", tt.name)
			}
		}
	})
}

// direct gives d a route direction to peer in answer to its open request.
func (d *device) direct(peer *device) {
	done := make(chan struct{})
	_ = d.endpoint.post(func(now time.Time) {
		defer close(done)
		if len(d.local.requests) != 1 {
			d.w.t.Errorf("%d open requests, want 1", len(d.local.requests))
		}
		for id := range d.local.requests {
			d.local.onRouted(now, signaling.Routed{RequestID: id, RouteDirection: wire.RouteDirection{
				Kind: wire.RouteDirect, Direction: wire.Direction{PeerCertificate: peer.grant(time.Hour).Certificate, PeerTag: 1},
			}})
		}
	})
	<-done
}

// knows says whether d has a record of a peer.
func (d *device) knows(peer *device) bool {
	result := make(chan bool, 1)
	_ = d.endpoint.post(func(time.Time) { result <- d.local.peers[peer.key.Public().NodeID()] != nil })
	return <-result
}
