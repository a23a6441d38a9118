package trs

import (
	"bytes"
	"crypto/rand"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// world is a TRS core with a clock that tests move.
type world struct {
	t    testing.TB
	core *Core
	ring identity.Keyring
	now  time.Time
}

func newWorld(t testing.TB, change func(*CoreOptions)) *world {
	t.Helper()
	w := &world{t: t, now: time.Unix(1_800_000_000, 0), ring: identity.Keyring{Current: identity.SealingKey{ID: 1, Key: [32]byte{1}}}}
	options := CoreOptions{
		Keys: func() identity.Keyring { return w.ring }, Rand: rand.Reader,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: prometheus.NewRegistry(),
	}
	if change != nil {
		change(&options)
	}
	var err error
	if w.core, err = NewCore(options); err != nil {
		t.Fatal(err)
	}
	return w
}

// client is one side of a session.
type client struct {
	w       *world
	token   identity.RelayToken
	sealed  []byte
	src     netip.AddrPort
	cookie  [16]byte
	nonce   uint64
	channel uint32
}

func (w *world) client(session, side byte, src string) *client {
	w.t.Helper()
	c := &client{w: w, src: netip.MustParseAddrPort(src), token: identity.RelayToken{
		Session: [16]byte{session}, Side: side, BindKey: [32]byte{session, side, 1}, Network: "home", NotAfter: w.now.Add(time.Hour),
	}}
	c.seal()
	return c
}

func (c *client) seal() {
	c.w.t.Helper()
	sealed, err := identity.SealRelayToken(rand.Reader, c.w.ring, c.token)
	if err != nil {
		c.w.t.Fatal(err)
	}
	c.sealed = sealed
}

func (c *client) bindDatagram() []byte {
	c.nonce++
	b := wire.RelayBind{Nonce: c.nonce, Cookie: c.cookie, Token: c.sealed}.Append(nil)
	wire.SignRelay(b, c.token.BindKey)
	return b
}

func (w *world) handle(src netip.AddrPort, b []byte) []Datagram {
	return w.core.HandleDatagram(w.now, src, b, nil)
}

// bind binds, answering a challenge.
func (c *client) bind() wire.RelayBound {
	c.w.t.Helper()
	for range 2 {
		out := c.w.handle(c.src, c.bindDatagram())
		if len(out) == 2 && !c.w.core.leaving.IsZero() {
			c.noticeOf(out[1])
			out = out[:1]
		}
		if len(out) != 1 || out[0].To != c.src {
			c.w.t.Fatalf("a bind is answered with %v", out)
		}
		if challenge, err := wire.ParseRelayChallenge(out[0].Data); err == nil {
			if challenge.Nonce != c.nonce {
				c.w.t.Fatal("a challenge for another nonce")
			}
			c.cookie = challenge.Cookie
			continue
		}
		bound, err := wire.ParseRelayBound(out[0].Data)
		if err != nil || !wire.VerifyRelay(out[0].Data, c.token.BindKey) || bound.Nonce != c.nonce {
			c.w.t.Fatalf("a bind is answered with %x: %v", out[0].Data, err)
		}
		c.channel = bound.Channel
		return bound
	}
	c.w.t.Fatal("not bound")
	return wire.RelayBound{}
}

// refused demands a RelayError.
func (c *client) refused(name string, code wire.RelayErrorCode) {
	c.w.t.Helper()
	b := c.bindDatagram()
	out := c.w.handle(c.src, b)
	if len(out) != 1 || len(out[0].Data) > len(b) {
		c.w.t.Fatalf("%s: answered with %v", name, out)
	}
	e, err := wire.ParseRelayError(out[0].Data)
	if err != nil || e.Code != code || e.Nonce != c.nonce || !wire.VerifyRelay(out[0].Data, c.token.BindKey) {
		c.w.t.Errorf("%s: answered with %+v %v, want %v", name, e, err, code)
	}
}

func (c *client) data(payload byte) []byte {
	return wire.RelayData{Channel: c.channel, Datagram: []byte{byte(wire.TypeData), wire.Version << 4, payload}}.Append(nil)
}

// passes demands that data of c arrives at to under its channel.
func (c *client) passes(to *client) {
	c.w.t.Helper()
	out := c.w.handle(c.src, c.data(42))
	if len(out) != 1 || out[0].To != to.src {
		c.w.t.Fatalf("data is forwarded as %v, want to %v", out, to.src)
	}
	m, err := wire.ParseRelayData(out[0].Data)
	if err != nil || m.Channel != to.channel || !bytes.Equal(m.Datagram, c.data(42)[wire.RelayHeaderSize:]) {
		c.w.t.Fatalf("data arrives as %+v %v", m, err)
	}
}

func (w *world) dropped(d drop) int { return int(testutil.ToFloat64(w.core.metrics.drops[d])) }

func (w *world) mustDrop(name string, src netip.AddrPort, b []byte, reason drop) {
	w.t.Helper()
	before, sessions := w.dropped(reason), len(w.core.sessions)
	if out := w.handle(src, b); len(out) != 0 {
		w.t.Errorf("%s: answered", name)
	}
	if w.dropped(reason) != before+1 {
		w.t.Errorf("%s: not counted as %s", name, reason)
	}
	if len(w.core.sessions) != sessions {
		w.t.Errorf("%s: a session appeared", name)
	}
}

func boundPair(w *world) (a, b *client) {
	a, b = w.client(1, 0, "198.51.100.5:4000"), w.client(1, 1, "203.0.113.6:5000")
	a.bind()
	b.bind()
	return a, b
}
