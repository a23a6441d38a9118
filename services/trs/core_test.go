package trs

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestRelayForwardsBetweenTheTwoBoundAddresses(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.client(1, 0, "198.51.100.5:4000"), w.client(1, 1, "[2001:db8::6]:5000")
	if bound := a.bind(); bound.PeerBound || bound.TTL != 120 {
		t.Errorf("first side: %+v", bound)
	}
	w.mustDrop("data before the peer is bound", a.src, a.data(1), dropPeerUnbound)
	if bound := b.bind(); !bound.PeerBound {
		t.Errorf("second side: %+v", bound)
	}
	if bound := a.bind(); !bound.PeerBound {
		t.Errorf("first side again: %+v", bound)
	}
	a.passes(b)
	b.passes(a)
	if a.channel == b.channel {
		t.Error("both sides have the same channel")
	}
}

func TestRelayForwardsFromNowhereElse(t *testing.T) {
	w := newWorld(t, nil)
	a, b := boundPair(w)
	other := w.client(2, 0, "192.0.2.7:7000")
	other.bind()
	w.mustDrop("another port", netip.MustParseAddrPort("198.51.100.5:4001"), a.data(1), dropAddress)
	w.mustDrop("another address", netip.MustParseAddrPort("198.51.100.6:4000"), a.data(1), dropAddress)
	w.mustDrop("the peer's address with the own channel", b.src, a.data(1), dropAddress)
	w.mustDrop("another session's address", other.src, a.data(1), dropAddress)
	w.mustDrop("another session without a peer", other.src, other.data(1), dropPeerUnbound)
	unknown := a.data(1)
	binary.BigEndian.PutUint32(unknown[4:], a.channel^0x5555)
	w.mustDrop("an unknown channel", a.src, unknown, dropChannel)
	for name, inner := range map[string][]byte{
		"a bind inside":       {byte(wire.TypeRelayBind), wire.Version << 4, 0},
		"relay data inside":   {byte(wire.TypeRelayData), wire.Version << 4, 0},
		"a signal inside":     {byte(wire.TypeSignal), wire.Version << 4, 0},
		"a DNS answer inside": {0x12, 0x34, 0x81, 0x80},
		"nothing inside":      {},
	} {
		w.mustDrop(name, a.src, wire.RelayData{Channel: a.channel, Datagram: inner}.Append(nil), dropMalformed)
	}
	a.passes(b)
}

func TestBindNeedsTokenMACAndChallenge(t *testing.T) {
	w := newWorld(t, nil)
	a := w.client(1, 0, "198.51.100.5:4000")
	good := a.bindDatagram()
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 0x80
		if out := w.handle(a.src, b); len(out) != 0 {
			t.Errorf("a bind with byte %d changed is answered", i)
		}
		if out := w.handle(a.src, good[:i]); len(out) != 0 {
			t.Errorf("a bind cut to %d bytes is answered", i)
		}
	}
	out := w.handle(a.src, good)
	if len(out) != 1 || len(w.core.sessions) != 0 {
		t.Fatal("a first bind is not challenged, or leaves a session")
	}
	if _, err := wire.ParseRelayChallenge(out[0].Data); err != nil {
		t.Fatal(err)
	}
	a.bind()

	forged := w.client(3, 0, "198.51.100.5:4000")
	w.ring.Current.Key[5] ^= 1
	w.mustDrop("a token of another key", forged.src, forged.bindDatagram(), dropToken)
	w.ring.Current.Key[5] ^= 1
	forged.token.BindKey[0] ^= 1 // signs with a key that is not in the token
	w.mustDrop("another bind key", forged.src, forged.bindDatagram(), dropMAC)

	thief := w.client(1, 1, "203.0.113.6:5000")
	thief.cookie = a.cookie
	if out := w.handle(thief.src, thief.bindDatagram()); len(out) != 1 || out[0].Data[0] != byte(wire.TypeRelayChallenge) {
		t.Error("the cookie of another side is accepted")
	}
	thief.token.Network = "work"
	thief.seal()
	w.mustDrop("another network's token for the session", thief.src, thief.bindDatagram(), dropToken)
}

func TestABindingMovesWithItsOwner(t *testing.T) {
	w := newWorld(t, nil)
	a, b := boundPair(w)
	captured := a.bindDatagram() // valid for the first address
	w.handle(a.src, captured)
	first, channel := a.src, a.channel
	a.src = netip.MustParseAddrPort("192.0.2.9:9")
	a.bind()
	if a.channel != channel {
		t.Error("the channel changed with the address")
	}
	a.passes(b)
	b.passes(a)
	w.mustDrop("data from the old address", first, a.data(1), dropAddress)
	// The captured bind was a refresh then; its nonce never moved the side. It is
	// a new move now, with a cookie that still holds, of the owner's own making.
	w.now = w.now.Add(2 * cookieWindow)
	if out := w.handle(first, captured); len(out) != 1 || out[0].Data[0] != byte(wire.TypeRelayChallenge) {
		t.Error("a captured bind with an old cookie moves the binding")
	}
	b.passes(a)
}

func TestACapturedMoveCannotBeReplayed(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.client(1, 0, "198.51.100.5:4000"), w.client(1, 1, "203.0.113.6:5000")
	b.bind()
	challenge, err := wire.ParseRelayChallenge(w.handle(a.src, a.bindDatagram())[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	a.cookie = challenge.Cookie
	captured := a.bindDatagram()
	if out := w.handle(a.src, captured); out[0].Data[0] != byte(wire.TypeRelayBound) {
		t.Fatal("not bound")
	}
	old := a.src
	a.src = netip.MustParseAddrPort("192.0.2.9:9")
	a.bind()
	w.mustDrop("the bind of the first address again", old, captured, dropReplay)
	b.passes(a)
	for i := range 2 * moveBurst {
		a.src = netip.AddrPortFrom(a.src.Addr(), uint16(100+i))
		a.cookie = w.core.cookies.make(&a.token, a.src, w.now)
		w.handle(a.src, a.bindDatagram())
	}
	if w.dropped(dropMoves) == 0 {
		t.Error("a side may move as often as it likes")
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, nil)
	w.core.SetOwn([]netip.Addr{netip.MustParseAddr("203.0.113.1")})
	for _, src := range []string{"127.0.0.1:7442", "[::1]:22", "224.0.0.1:1", "255.255.255.255:1", "0.0.0.0:1", "[ff02::1]:1", "203.0.113.1:7442", "[::ffff:127.0.0.1]:1"} {
		c := w.client(1, 0, src)
		b := c.bindDatagram()
		for _, datagram := range w.handle(c.src, b) {
			if e, err := wire.ParseRelayError(datagram.Data); err != nil || e.Code != wire.RelayErrorAddress {
				t.Errorf("%s: answered with %x", src, datagram.Data)
			}
		}
		c.cookie = w.core.cookies.make(&c.token, netip.AddrPortFrom(c.src.Addr().Unmap(), c.src.Port()), w.now)
		w.handle(c.src, c.bindDatagram())
	}
	if len(w.core.sessions) != 0 {
		t.Error("a forbidden address is bound")
	}
	expired := w.client(1, 0, "198.51.100.5:4000")
	expired.token.NotAfter = w.now.Add(-time.Second)
	expired.seal()
	expired.refused("expired token", wire.RelayErrorExpired)

	full := w.client(9, 0, "198.51.100.5:4000")
	full.cookie = w.core.cookies.make(&full.token, full.src, w.now)
	w.core.networks["home"] = &network{name: "home", sessions: maxSessionsPerNetwork}
	full.refused("full network", wire.RelayErrorQuota)
	delete(w.core.networks, "home")
	for i := range maxSessions {
		var id [16]byte
		binary.BigEndian.PutUint32(id[12:], uint32(i+1))
		w.core.sessions[id] = &session{}
	}
	full.refused("full table", wire.RelayErrorBusy)

	local := newWorld(t, func(o *CoreOptions) { o.AllowLocal = true })
	local.client(1, 0, "127.0.0.1:4000").bind()
}

func TestBindingsEndWhenIdleOrExpired(t *testing.T) {
	w := newWorld(t, nil)
	a, b := boundPair(w)
	for range 10 { // data keeps both directions' senders bound
		w.now = w.now.Add(idleTimeout - time.Second)
		b.bind()
		a.bind()
		w.core.Expire(w.now)
		if len(w.core.sessions) != 1 {
			t.Fatal("a refreshed session ended")
		}
	}
	w.now = w.now.Add(idleTimeout)
	w.mustDrop("data after the silence", a.src, a.data(1), dropExpired)
	w.core.Expire(w.now)
	if len(w.core.sessions)+len(w.core.channels)+len(w.core.networks) != 0 {
		t.Error("an idle session stays")
	}

	c, d := w.client(5, 0, "198.51.100.5:4000"), w.client(5, 1, "203.0.113.6:5000")
	c.token.NotAfter = w.now.Add(time.Minute)
	c.seal()
	c.bind()
	d.bind()
	d.passes(c)
	w.now = w.now.Add(time.Minute)
	w.mustDrop("data under an expired token", c.src, c.data(1), dropExpired)
	w.mustDrop("data to a side with an expired token", d.src, d.data(1), dropPeerUnbound)
}

func TestQuotas(t *testing.T) {
	w := newWorld(t, func(o *CoreOptions) { o.NetworkBytesPerSecond = 4_000_000 })
	a, b := w.client(1, 0, "198.51.100.5:4000"), w.client(1, 1, "203.0.113.6:5000")
	a.token.BytesPerSecond = 100_000
	a.seal()
	a.bind()
	b.bind()
	// passed counts the bytes that get through in the time.
	passed := func(c *client, size int, d time.Duration) (bytes int) {
		payload := append([]byte{byte(wire.TypeData), wire.Version << 4}, make([]byte, size-2)...)
		for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(time.Millisecond) {
			for range 20 {
				for _, out := range w.handle(c.src, wire.RelayData{Channel: c.channel, Datagram: payload}.Append(nil)) {
					bytes += len(out.Data)
				}
			}
		}
		return bytes
	}
	if got := passed(a, 1000, 10*time.Second); got < 1_000_000 || got > 1_000_000+2*minBurst {
		t.Errorf("a token of 100 kB/s passed %d bytes in 10 s", got)
	}
	if w.dropped(dropQuotaToken) == 0 || w.dropped(dropQuotaNetwork) != 0 {
		t.Error("the token's quota is not what dropped")
	}
	if got := passed(b, 1000, 10*time.Second); got < 39_000_000 || got > 42_000_000 {
		t.Errorf("a network of 4 MB/s passed %d bytes in 10 s", got)
	}
	if w.dropped(dropQuotaNetwork) == 0 {
		t.Error("the network's quota is not what dropped")
	}
}

// TestUnauthenticatedInputGetsLittleAndLeavesNothing measures what an attacker
// without a token, or with a captured bind from a false source, gets back.
func TestUnauthenticatedInputGetsLittleAndLeavesNothing(t *testing.T) {
	w := newWorld(t, nil)
	a := w.client(1, 0, "198.51.100.5:4000")
	victim := netip.MustParseAddrPort("192.0.2.1:53")
	garbage := make([]byte, 1200)
	if _, err := rand.Read(garbage); err != nil {
		t.Fatal(err)
	}
	a.token.Network = ""
	a.seal()
	inputs := map[string]func() []byte{
		"nothing":      func() []byte { return nil },
		"garbage":      func() []byte { return garbage },
		"garbage bind": func() []byte { return wire.RelayBind{Nonce: 1, Token: garbage[:192]}.Append(nil) },
		"garbage data": func() []byte {
			return wire.RelayData{Channel: 7, Datagram: []byte{byte(wire.TypeData), wire.Version << 4}}.Append(nil)
		},
		"smallest captured bind": a.bindDatagram,
	}
	for name, input := range inputs {
		in, out := 0, 0
		for range 100 {
			b := input()
			in += len(b)
			for _, datagram := range w.handle(victim, b) {
				out += len(datagram.Data)
				if len(datagram.Data) > len(b) {
					t.Errorf("%s: %d bytes are answered with %d", name, len(b), len(datagram.Data))
				}
			}
		}
		t.Logf("%s: %d bytes in, %d bytes out", name, in, out)
		if len(w.core.sessions)+len(w.core.channels)+len(w.core.networks) != 0 {
			t.Fatalf("%s: state stays", name)
		}
	}
}

func TestForwardingDoesNotAllocate(t *testing.T) {
	w := newWorld(t, nil)
	a, b := boundPair(w)
	datagram, out := a.data(1), make([]Datagram, 0, 1)
	if n := testing.AllocsPerRun(1000, func() {
		binary.BigEndian.PutUint32(datagram[4:], a.channel)
		w.now = w.now.Add(time.Millisecond)
		if out = w.core.HandleDatagram(w.now, a.src, datagram, out[:0]); len(out) != 1 || out[0].To != b.src {
			t.Fatal("not forwarded")
		}
	}); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
}

func FuzzHandleDatagram(f *testing.F) {
	w := newWorld(f, nil)
	a, b := boundPair(w)
	f.Add([]byte{}, false)
	f.Add(a.bindDatagram(), false)
	f.Add(a.data(1), false)
	f.Add(wire.RelayBind{Nonce: 1, Token: a.sealed}.Append(nil), true)
	f.Add(wire.RelayError{Code: 1}.Append(nil), true)
	f.Fuzz(func(t *testing.T, datagram []byte, sign bool) {
		if sign {
			wire.SignRelay(datagram, a.token.BindKey)
		}
		size := len(datagram)
		w.now = w.now.Add(time.Millisecond)
		for _, out := range w.handle(a.src, datagram) {
			if out.To != a.src && out.To != b.src || len(out.Data) > size {
				t.Fatalf("%d bytes are followed by %d to %v", size, len(out.Data), out.To)
			}
		}
		w.core.Expire(w.now)
	})
}

func BenchmarkForward(b *testing.B) {
	for _, size := range []int{64, 1440} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			w := newWorld(b, func(o *CoreOptions) { o.NetworkBytesPerSecond = 1 << 60 })
			x, y := w.client(1, 0, "198.51.100.5:4000"), w.client(1, 1, "203.0.113.6:5000")
			x.token.BytesPerSecond = 1<<32 - 1
			x.seal()
			x.bind()
			y.bind()
			payload := append([]byte{byte(wire.TypeData), wire.Version << 4}, make([]byte, size-2)...)
			datagram := wire.RelayData{Channel: x.channel, Datagram: payload}.Append(nil)
			out := make([]Datagram, 0, 1)
			b.SetBytes(int64(len(datagram)))
			b.ReportAllocs()
			for b.Loop() {
				binary.BigEndian.PutUint32(datagram[4:], x.channel)
				w.now = w.now.Add(time.Microsecond)
				if out = w.core.HandleDatagram(w.now, x.src, datagram, out[:0]); len(out) != 1 {
					b.Fatal("not forwarded")
				}
			}
		})
	}
}
