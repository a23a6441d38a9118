package nms

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// mintRelays makes a relay token for each side, so that either may fall back
// to the relay without asking again. Without a TRS or a relay key there are none.
//
// The session identifier is derived from the two devices: all directions of a
// pair lead to the same relay session, whichever side asked and whichever
// replica answered. Only the TRS sees it; the tokens are sealed.
func (c *Core) mintRelays(now time.Time, snap *replica.Snapshot, d *direction, a, b *contact) error {
	ring := snap.RelayKeys()
	if ring.Current.Key == ([32]byte{}) {
		return nil
	}
	session := relaySession(ring.Current.Key, a.nodeID, b.nodeID)
	trs, ok := c.chooseRelay(snap, session, d.relayElse)
	if !ok {
		return nil
	}
	first := uint8(0) // side of the smaller NodeID
	if string(a.nodeID[:]) > string(b.nodeID[:]) {
		first = 1
	}
	for i := range d.relays {
		token := identity.RelayToken{
			Session: session, Side: first ^ uint8(i), Network: a.subject.Network,
			NotAfter: now.Add(relayTokenTTL), BytesPerSecond: relayBytesPerSecond,
		}
		if _, err := io.ReadFull(c.rand, token.BindKey[:]); err != nil {
			return fmt.Errorf("read a bind key: %w", err)
		}
		sealed, err := identity.SealRelayToken(c.rand, ring, token)
		if err != nil {
			return fmt.Errorf("seal a relay token: %w", err)
		}
		d.relays[i] = wire.Relay{IPv4: trs.IPv4, IPv6: trs.IPv6, Token: sealed, BindKey: token.BindKey}
	}
	return nil
}

// chooseRelay chooses who relays a session: of the live replicas of the TRS the
// one with the highest rendezvous hash, or the next one at another address if
// that does not work, and without such replicas one of the addresses of the desired state. Whoever
// chooses for a session comes to the same answer.
func (c *Core) chooseRelay(snap *replica.Snapshot, session [16]byte, other bool) (Relay, bool) {
	if chosen := replica.Rendezvous(session[:], c.relayNames, candidates); len(chosen) > 0 {
		first := c.relays[chosen[0]]
		if !other || len(chosen) == 1 {
			return first, true
		}
		for _, name := range chosen[1:] { // a host that is gone has taken all its relays along
			if r := c.relays[name]; r.IPv4.Addr() != first.IPv4.Addr() || r.IPv6.Addr() != first.IPv6.Addr() {
				return r, true
			}
		}
		return c.relays[chosen[1]], true
	}
	services := snap.Services("trs")
	if len(services) == 0 {
		return Relay{}, false
	}
	i := binary.BigEndian.Uint64(session[:]) % uint64(len(services))
	if other {
		i = (i + 1) % uint64(len(services))
	}
	return Relay{Name: services[i].Name, IPv4: services[i].IPv4, IPv6: services[i].IPv6}, true
}

func relaySession(key [32]byte, a, b identity.NodeID) (session [16]byte) {
	if string(a[:]) > string(b[:]) {
		a, b = b, a
	}
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte("cyphonic relay session"))
	h.Write(a[:])
	h.Write(b[:])
	copy(session[:], h.Sum(nil))
	return session
}
