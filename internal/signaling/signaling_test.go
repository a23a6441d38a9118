package signaling

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

var (
	t0       = time.Unix(1_800_000_000, 0)
	server4  = netip.MustParseAddrPort("198.51.100.1:7442")
	server6  = netip.MustParseAddrPort("[2001:db8::1]:7442")
	observed = netip.MustParseAddrPort("203.0.113.9:4444")
	own      = []netip.AddrPort{netip.MustParseAddrPort("192.168.1.2:5000")}
	target   = wire.Target{FQDN: "cam1.example"}
)

const tag = 0xcafe

// nms is the other side: it opens what the client sends and seals answers.
type nms struct {
	t       *testing.T
	c       *Client
	now     time.Time
	keys    identity.SignalKeys
	boot    byte
	counter uint64
	last    uint64 // counter of the client's last datagram
	seed    uint64
}

func newNMS(t *testing.T, servers ...netip.AddrPort) *nms {
	n := &nms{t: t, now: t0, boot: 1}
	key := [32]byte{1, 2, 3}
	n.keys = identity.NewSignalKeys(key)
	if len(servers) == 0 {
		servers = []netip.AddrPort{server4}
	}
	random := func() uint64 { n.seed++; return n.seed * 0x9e3779b97f4a7c15 }
	n.c = New(Config{Tag: tag, Random: random},
		Credentials{Ticket: make([]byte, 200), SessionKey: key, Certificate: make([]byte, 300), Servers: servers, ServerTime: t0}, own)
	return n
}

// wait advances the time, ticking the client whenever it asks for it, and
// returns the bodies sent.
func (n *nms) wait(d time.Duration) []wire.SignalBody {
	end := n.now.Add(d)
	var sent []wire.SignalBody
	for {
		next := n.c.Next()
		if next.After(end) {
			break
		}
		if next.After(n.now) {
			n.now = next
		}
		n.c.Tick(n.now)
		sent = append(sent, n.sent()...)
		if !n.c.Next().After(n.now) {
			n.t.Fatalf("the client wants to be called at %v again", n.now.Sub(t0))
		}
	}
	n.now = end
	return sent
}

// sent opens the outbox.
func (n *nms) sent() (bodies []wire.SignalBody) {
	n.t.Helper()
	for _, d := range n.c.Outbox() {
		if len(d.Payload) > wire.MaxDatagram {
			n.t.Errorf("datagram of %d bytes", len(d.Payload))
		}
		m, err := wire.ParseSignal(d.Payload)
		if err != nil {
			n.t.Fatal(err)
		}
		if m.Counter <= n.last {
			n.t.Errorf("counter %d after %d", m.Counter, n.last)
		}
		n.last = m.Counter
		plain, err := n.keys.OpenSignal(d.Payload)
		if err != nil {
			n.t.Fatal(err)
		}
		body, err := wire.ParseSignalBody(plain)
		if err != nil {
			n.t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

func (n *nms) seal(body wire.SignalBody) []byte {
	n.counter += 1000
	var nonce [24]byte
	nonce[0] = n.boot
	binary.BigEndian.PutUint64(nonce[16:], n.counter)
	return n.keys.SealReply(nil, tag, nonce, body.AppendBody(nil))
}

func (n *nms) answer(body wire.SignalBody) error { return n.c.Receive(n.now, n.seal(body)) }

func (n *nms) must(body wire.SignalBody) {
	n.t.Helper()
	if err := n.answer(body); err != nil {
		n.t.Fatalf("%T: %v", body, err)
	}
}

// register brings the client to the registered state and returns the echo.
func (n *nms) register() uint64 {
	n.t.Helper()
	n.c.Tick(n.now)
	r := only[wire.Registration](n.t, n.sent())
	n.must(wire.RegistrationAck{Echo: r.Echo, Observed: observed, NATed: true, TTL: 90, Keepalive: 25})
	e := onlyEvent[Registered](n.t, n.c)
	if e.Observed != observed || !e.NATed || !n.c.Registered() {
		n.t.Fatalf("event %+v", e)
	}
	return r.Echo
}

func only[T wire.SignalBody](t *testing.T, bodies []wire.SignalBody) T {
	t.Helper()
	if len(bodies) != 1 {
		t.Fatalf("%d datagrams: %v", len(bodies), bodies)
	}
	m, ok := bodies[0].(T)
	if !ok {
		t.Fatalf("got %T", bodies[0])
	}
	return m
}

func onlyEvent[T Event](t *testing.T, c *Client) T {
	t.Helper()
	events := c.Events()
	if len(events) != 1 {
		t.Fatalf("%d events: %v", len(events), events)
	}
	e, ok := events[0].(T)
	if !ok {
		t.Fatalf("got %T", events[0])
	}
	return e
}

func someDirection() wire.Direction {
	return wire.Direction{PeerCertificate: []byte{1}, PeerTag: 7, Candidates: own}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestRegistrationIsRepeatedThenKeptAlive(t *testing.T) {
	n := newNMS(t)
	sent := n.wait(10 * time.Second)
	if len(sent) < 4 || len(sent) > 6 {
		t.Errorf("%d registrations in 10 s without answer, want 4 to 6", len(sent))
	}
	echo := sent[0].(wire.Registration).Echo
	for _, s := range sent {
		if s.(wire.Registration).Echo != echo {
			t.Error("a repetition has another echo")
		}
	}
	n.must(wire.RegistrationAck{Echo: echo, Observed: observed, TTL: 90, Keepalive: 25})
	if sent := n.wait(20 * time.Second); len(sent) != 0 {
		t.Errorf("%v 20 s after the acknowledgement", sent)
	}
	sent = n.wait(8 * time.Second)
	if len(sent) == 0 || sent[0].(wire.Registration).Echo == echo {
		t.Errorf("%d datagrams 28 s after the acknowledgement, want a registration with a new echo", len(sent))
	}
}

func TestRegistrationEndsWithItsLife(t *testing.T) {
	n := newNMS(t)
	n.register()
	n.wait(70 * time.Second)
	n.c.Events()
	n.wait(21 * time.Second)
	onlyEvent[Unregistered](t, n.c)
	if n.c.Registered() {
		t.Error("still registered")
	}
}

func TestUnansweredRegistrationTriesTheOtherAddress(t *testing.T) {
	n := newNMS(t, server4, server6)
	used := map[netip.AddrPort]int{}
	for range 12 {
		n.now = n.c.Next()
		n.c.Tick(n.now)
		for _, d := range n.c.Outbox() {
			used[d.To]++
		}
	}
	if used[server4] != 6 || used[server6] != 6 {
		t.Errorf("used %v", used)
	}
}

func TestChallengeIsAnsweredWithItsCookie(t *testing.T) {
	n := newNMS(t)
	n.c.Tick(n.now)
	r := only[wire.Registration](t, n.sent())
	n.must(wire.Challenge{Echo: r.Echo, Cookie: [16]byte{9}})
	out := n.c.Outbox()
	if len(out) != 1 {
		t.Fatalf("%d datagrams", len(out))
	}
	m, err := wire.ParseSignal(out[0].Payload)
	if err != nil || m.Cookie != [16]byte{9} {
		t.Errorf("cookie %v, %v", m.Cookie, err)
	}
}

func TestChallengesCannotMakeALoop(t *testing.T) {
	n := newNMS(t)
	n.c.Tick(n.now)
	r := only[wire.Registration](t, n.sent())
	total := 0
	for range 100 {
		n.answer(wire.Challenge{Echo: r.Echo, Cookie: [16]byte{9}})
		total += len(n.sent())
	}
	if total != maxChallenges {
		t.Errorf("%d answers to 100 challenges", total)
	}
}

// A replica that has lost the location challenges whatever comes next: the
// client registers again before it repeats its request.
func TestChallengedRequestRegistersFirst(t *testing.T) {
	n := newNMS(t)
	old := n.register()
	id, err := n.c.Request(n.now, target, false)
	if err != nil {
		t.Fatal(err)
	}
	n.wait(10 * time.Millisecond)
	n.boot, n.counter = 2, 0
	n.must(wire.Challenge{Echo: id, Cookie: [16]byte{9}})
	sent := n.sent()
	if len(sent) != 2 {
		t.Fatalf("sent %v", sent)
	}
	if r, ok := sent[0].(wire.Registration); !ok || r.Echo == old {
		t.Errorf("first %+v", sent[0])
	}
	if r, ok := sent[1].(wire.DirectionRequest); !ok || r.RequestID != id {
		t.Errorf("second %+v", sent[1])
	}
}

func TestRequestIsRepeatedWithOneIdentifier(t *testing.T) {
	n := newNMS(t)
	n.register()
	id, err := n.c.Request(n.now, target, true)
	if err != nil {
		t.Fatal(err)
	}
	sent := n.wait(RequestLifetime - time.Millisecond)
	if len(sent) < 4 || len(sent) > 6 {
		t.Errorf("%d datagrams, want 4 to 6", len(sent))
	}
	for _, s := range sent {
		if r := s.(wire.DirectionRequest); r.RequestID != id || r.Target != target || r.Flags != wire.DirectionRelayWanted {
			t.Errorf("sent %+v", r)
		}
	}
	n.wait(time.Millisecond)
	if e := onlyEvent[Failed](t, n.c); e.RequestID != id || e.Code != 0 {
		t.Errorf("event %+v", e)
	}
}

func TestRequestWaitsForTheRegistration(t *testing.T) {
	n := newNMS(t)
	n.c.Tick(n.now)
	r := only[wire.Registration](t, n.sent())
	if _, err := n.c.Request(n.now, target, false); err != nil {
		t.Fatal(err)
	}
	if sent := n.wait(10 * time.Millisecond); len(sent) != 0 {
		t.Fatalf("sent %v before the registration", sent)
	}
	n.must(wire.RegistrationAck{Echo: r.Echo, Observed: observed, TTL: 90, Keepalive: 25})
	only[wire.DirectionRequest](t, n.wait(time.Millisecond))
}

func TestRequestsAreBounded(t *testing.T) {
	n := newNMS(t)
	for range MaxRequests {
		if _, err := n.c.Request(n.now, target, false); err != nil {
			t.Fatal(err)
		}
	}
	_, err := n.c.Request(n.now, target, false)
	wantErr(t, "one more", err, ErrBusy)
}

func TestFailures(t *testing.T) {
	n := newNMS(t)
	n.register()
	id, _ := n.c.Request(n.now, target, false)
	n.wait(time.Millisecond)
	n.must(wire.DirectionFailure{RequestID: id, Code: wire.FailureBusy})
	if len(n.c.Events()) != 0 {
		t.Fatal("busy ended the request")
	}
	only[wire.DirectionRequest](t, n.wait(1200*time.Millisecond))
	n.must(wire.DirectionFailure{RequestID: id, Code: wire.FailureUnknown})
	if e := onlyEvent[Failed](t, n.c); e.Code != wire.FailureUnknown {
		t.Errorf("event %+v", e)
	}
	wantErr(t, "again", n.answer(wire.DirectionFailure{RequestID: id, Code: wire.FailureUnknown}), ErrUnasked)
}

func TestInitiatorTakesItsRouteOnce(t *testing.T) {
	n := newNMS(t)
	n.register()
	id, _ := n.c.Request(n.now, target, false)
	n.wait(time.Millisecond)
	route := wire.RouteDirection{Echo: id, DirectionID: 5, Initiator: true, Kind: wire.RoutePunched, Direction: someDirection()}
	n.must(route)
	if e := onlyEvent[Routed](t, n.c); e.RequestID != id || !e.Initiator {
		t.Errorf("event %+v", e)
	}
	wantErr(t, "again", n.answer(route), ErrDuplicate)
	if sent := n.wait(RequestLifetime); len(sent) != 0 {
		t.Errorf("sent %v after the answer", sent)
	}
}

func TestResponderConfirmsAndIsRoutedOnce(t *testing.T) {
	n := newNMS(t)
	echo := n.register()
	confirmation := wire.Confirmation{Echo: echo, DirectionID: 5, Direction: someDirection()}
	route := wire.RouteDirection{Echo: echo, DirectionID: 5, Kind: wire.RoutePunched, Direction: someDirection()}
	wantErr(t, "route before confirmation", n.answer(route), ErrUnasked)
	n.must(confirmation)
	if e := onlyEvent[Confirm](t, n.c); e.DirectionID != 5 {
		t.Errorf("event %+v", e)
	}
	wantErr(t, "route before the answer", n.answer(route), ErrUnasked)
	n.c.Answer(5, true, own)
	if m := only[wire.ConfirmationResponse](t, n.sent()); !m.Accept || m.DirectionID != 5 || len(m.Candidates) != 1 {
		t.Errorf("sent %+v", m)
	}
	wantErr(t, "repeated confirmation", n.answer(confirmation), ErrDuplicate)
	only[wire.ConfirmationResponse](t, n.sent())
	n.must(route)
	if e := onlyEvent[Routed](t, n.c); e.RequestID != 0 || e.DirectionID != 5 {
		t.Errorf("event %+v", e)
	}
	wantErr(t, "repeated route", n.answer(route), ErrDuplicate)
}

func TestRefusedDirectionIsNotRouted(t *testing.T) {
	n := newNMS(t)
	echo := n.register()
	n.must(wire.Confirmation{Echo: echo, DirectionID: 5, Direction: someDirection()})
	n.c.Events()
	n.c.Answer(5, false, nil)
	wantErr(t, "route", n.answer(wire.RouteDirection{Echo: echo, DirectionID: 5, Kind: wire.RouteDirect, Direction: someDirection()}), ErrUnasked)
}

func TestForgedAndReplayedRepliesChangeNothing(t *testing.T) {
	n := newNMS(t)
	n.c.Tick(n.now)
	r := only[wire.Registration](t, n.sent())
	ack := wire.RegistrationAck{Echo: r.Echo, Observed: observed, TTL: 90, Keepalive: 25}
	good := n.seal(ack)

	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-1] ^= 1
	foreign := append([]byte(nil), good...)
	foreign[7] ^= 1
	forger := *n
	forger.keys = identity.NewSignalKeys([32]byte{6, 6, 6})
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrMalformed},
		{"short", good[:20], ErrMalformed},
		{"flipped bit", flipped, ErrAuthentication},
		{"foreign tag", foreign, ErrTag},
		{"other key", forger.seal(ack), ErrAuthentication},
		{"foreign echo", n.seal(wire.RegistrationAck{Echo: r.Echo + 2, Observed: observed, TTL: 90, Keepalive: 25}), ErrUnasked},
		{"echo of zero", n.seal(wire.Confirmation{Echo: 0, DirectionID: 1, Direction: someDirection()}), ErrUnasked},
		{"route nobody asked for", n.seal(wire.RouteDirection{Echo: 77, DirectionID: 1, Kind: wire.RouteDirect, Direction: someDirection()}), ErrUnasked},
		{"challenge nobody asked for", n.seal(wire.Challenge{Echo: 77, Cookie: [16]byte{1}}), ErrUnasked},
		{"a node's body", n.seal(wire.Logout{Echo: r.Echo}), ErrUnasked},
	} {
		wantErr(t, tt.name, n.c.Receive(n.now, tt.b), tt.want)
		if n.c.Registered() || len(n.c.Outbox()) != 0 || len(n.c.Events()) != 0 {
			t.Fatalf("%s: has an effect", tt.name)
		}
	}
	if err := n.c.Receive(n.now, good); err != nil {
		t.Fatalf("the real one: %v", err)
	}
	wantErr(t, "replay", n.c.Receive(n.now, good), ErrReplay)
}

func TestReplayGuard(t *testing.T) {
	var g replayGuard
	nonce := func(boot byte, counter uint64) (b [24]byte) {
		b[0] = boot
		binary.BigEndian.PutUint64(b[16:], counter)
		return b
	}
	for i := range uint64(10 * maxNonces) {
		if !g.accept(t0, nonce(1, 10*i+5)) {
			t.Fatalf("nonce %d is refused", i)
		}
		if g.accept(t0, nonce(1, 10*i+5)) {
			t.Fatalf("nonce %d is taken twice", i)
		}
	}
	if g.accept(t0, nonce(1, 5)) {
		t.Error("a forgotten nonce is taken again")
	}
	if !g.accept(t0, nonce(1, 10*10*maxNonces-20+6)) {
		t.Error("a late nonce inside the window is refused")
	}
	for boot := range byte(100) {
		g.accept(t0.Add(time.Duration(boot)*time.Second), nonce(boot, 1))
	}
	if len(g.replicas) > maxReplicas || len(g.replicas[0].seen) > maxNonces {
		t.Errorf("%d replicas are remembered", len(g.replicas))
	}
}

func TestLogoutEndsEverything(t *testing.T) {
	n := newNMS(t)
	n.register()
	n.c.Request(n.now, target, false)
	n.c.Logout()
	only[wire.Logout](t, n.sent())
	if !n.c.Next().IsZero() {
		t.Error("wants to be called again")
	}
	wantErr(t, "receive", n.answer(wire.Challenge{Echo: 1}), ErrClosed)
	_, err := n.c.Request(n.now, target, false)
	wantErr(t, "request", err, ErrClosed)
}

func TestRenewalUsesTheNewTicketAtOnce(t *testing.T) {
	n := newNMS(t)
	n.register()
	key := [32]byte{4}
	n.keys = identity.NewSignalKeys(key)
	n.c.Renew(n.now, Credentials{Ticket: []byte{1}, SessionKey: key, Certificate: []byte{2}, Servers: []netip.AddrPort{server4}, ServerTime: t0.Add(time.Hour)})
	if r := only[wire.Registration](t, n.wait(time.Millisecond)); len(r.Certificate) != 1 {
		t.Errorf("sent %+v", r)
	}
}

func TestEveryRequestIsAsLargeAsItsAnswer(t *testing.T) {
	n := newNMS(t)
	largest := max(
		len(n.seal(wire.RegistrationAck{Observed: server6})),
		len(n.seal(wire.Challenge{})),
		len(n.seal(wire.DirectionFailure{Code: 1})))
	n.c.Tick(n.now)
	n.register()
	n.c.Request(n.now, wire.Target{FQDN: "a"}, false)
	n.c.Tick(n.now)
	n.c.Logout()
	for _, d := range n.c.Outbox() {
		if len(d.Payload) < largest {
			t.Errorf("request of %d bytes, answer of %d", len(d.Payload), largest)
		}
	}
}
