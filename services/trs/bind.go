package trs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// bind binds the source address of a RelayBind to its token's side. It answers
// only to a valid token with the MAC of its bind key, and binds a new address
// only after it has shown that it receives there.
func (c *Core) bind(now time.Time, src netip.AddrPort, b []byte, out []Datagram) ([]Datagram, drop) {
	m, err := wire.ParseRelayBind(b)
	if err != nil {
		return out, dropMalformed
	}
	token, err := identity.OpenRelayToken(c.keys(), m.Token, now)
	expired := errors.Is(err, identity.ErrExpired) && token != nil
	if err != nil && !expired {
		return out, dropToken
	}
	if !wire.VerifyRelay(b, token.BindKey) {
		return out, dropMAC
	}
	if expired {
		return c.refuse(src, m, token, wire.RelayErrorExpired, out), dropRefused
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forbidden(src.Addr()) {
		return c.refuse(src, m, token, wire.RelayErrorAddress, out), dropRefused
	}
	s := c.sessions[token.Session]
	if s != nil && s.network.name != token.Network {
		return out, dropToken
	}
	if s == nil || s.sides[token.Side].addr != src {
		if !c.cookies.valid(m.Cookie, token, src, now) {
			c.metrics.binds.WithLabelValues("challenged").Inc()
			challenge := wire.RelayChallenge{Nonce: m.Nonce, Cookie: c.cookies.make(token, src, now)}
			return append(out, Datagram{src, challenge.Append(nil)}), dropNone
		}
	}
	if s == nil {
		var code wire.RelayErrorCode
		if s, code = c.open(now, token); code != 0 {
			return c.refuse(src, m, token, code, out), dropRefused
		}
	}
	return c.attach(now, src, m, token, &s.sides[token.Side], out)
}

// attach makes src the address of the side, or refreshes it.
func (c *Core) attach(now time.Time, src netip.AddrPort, m wire.RelayBind, token *identity.RelayToken, side *side, out []Datagram) ([]Datagram, drop) {
	outcome := "refreshed"
	if side.addr != src {
		if side.usedNonce(m.Nonce) {
			return out, dropReplay
		}
		if !side.moves.take(now, 1) {
			return out, dropMoves
		}
		outcome = "bound"
		if side.addr.IsValid() {
			outcome = "moved"
		}
		if err := c.assignChannel(side); err != nil {
			c.log.Error("relay not bound", "error", err)
			return c.refuse(src, m, token, wire.RelayErrorInternal, out), dropRefused
		}
		side.addr = src
		side.rememberNonce(m.Nonce)
		c.log.Debug("relay bound", "network", token.Network, "side", token.Side, "address", src, "channel", side.channel)
	}
	side.lastSeen, side.lastBind = now, now
	side.notAfter = token.NotAfter
	side.answer(m.Nonce, token.BindKey)
	quota := float64(token.BytesPerSecond)
	if quota == 0 {
		quota = defaultBytesPerSecond
	}
	if side.quota.perSecond != quota {
		side.quota = newByteBucket(quota, now)
	}
	c.metrics.binds.WithLabelValues(outcome).Inc()
	answer := wire.RelayBound{
		Nonce: m.Nonce, Channel: side.channel, TTL: uint16(idleTimeout / time.Second),
		PeerBound: side.peer().bound(now),
	}.Append(nil)
	wire.SignRelay(answer, token.BindKey)
	out = append(out, Datagram{src, answer})
	if c.telling(now) {
		out = append(out, c.notice(src, m.Nonce, token.BindKey))
	}
	return out, dropNone
}

// open makes the session of a token. code is not 0 when a bound is reached.
func (c *Core) open(now time.Time, token *identity.RelayToken) (*session, wire.RelayErrorCode) {
	if c.refusing {
		return nil, wire.RelayErrorLeaving
	}
	if len(c.sessions) >= maxSessions {
		return nil, wire.RelayErrorBusy
	}
	n := c.networks[token.Network]
	if n == nil {
		n = &network{name: token.Network, quota: newByteBucket(c.networkQuota, now)}
	}
	if n.sessions >= maxSessionsPerNetwork {
		return nil, wire.RelayErrorQuota
	}
	n.sessions++
	c.networks[token.Network] = n
	s := &session{id: token.Session, network: n}
	for i := range s.sides {
		s.sides[i] = side{session: s, index: uint8(i), moves: newBucket(movesPerSecond, moveBurst, now)}
	}
	c.sessions[token.Session] = s
	if !c.leaving.IsZero() {
		c.untold = append(c.untold, s)
	}
	return s, 0
}

// assignChannel gives a side a random channel that no other side has. It keeps
// it when it moves.
func (c *Core) assignChannel(side *side) error {
	var b [4]byte
	for side.channel == 0 {
		if _, err := io.ReadFull(c.rand, b[:]); err != nil {
			return fmt.Errorf("read a channel: %w", err)
		}
		channel := binary.BigEndian.Uint32(b[:])
		if channel != 0 && c.channels[channel] == nil {
			side.channel = channel
			c.channels[channel] = side
		}
	}
	return nil
}

// refuse answers a RelayBind that cannot be met. The answer is smaller than
// the request, which is authenticated, and leaves no state.
func (c *Core) refuse(src netip.AddrPort, m wire.RelayBind, token *identity.RelayToken, code wire.RelayErrorCode, out []Datagram) []Datagram {
	c.metrics.binds.WithLabelValues(code.String()).Inc()
	answer := wire.RelayError{Code: code, Nonce: m.Nonce}.Append(nil)
	wire.SignRelay(answer, token.BindKey)
	return append(out, Datagram{src, answer})
}
