package nms

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
)

// cookies are stateless proofs that a device receives at an address:
//
//	0  time u40                    of its making, milliseconds since 1970
//	5  MAC 11                      HMAC-SHA256 over who, where and when
//
// The keys are derived from the ticket keys, which all replicas share, so that
// a cookie of one replica counts at every other. The zero value is ready.
type cookies struct {
	ring identity.Keyring
	keys [][32]byte // of the ring: the current one first
}

const cookieTime = 5 // bytes

// follow derives the keys of another ring.
func (c *cookies) follow(ring identity.Keyring) {
	if len(c.keys) > 0 && c.ring.Current == ring.Current && len(c.ring.Previous) == len(ring.Previous) {
		same := true
		for i, key := range ring.Previous {
			same = same && key == c.ring.Previous[i]
		}
		if same {
			return
		}
	}
	c.ring, c.keys = ring, c.keys[:0]
	for i, key := range append([]identity.SealingKey{ring.Current}, ring.Previous...) {
		if i <= identity.MaxPreviousKey {
			c.keys = append(c.keys, cookieKey(key.Key))
		}
	}
}

func cookieKey(key [32]byte) (derived [32]byte) {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte("cyphonic nms cookie v1"))
	h.Sum(derived[:0])
	return derived
}

func (c *cookies) make(ring identity.Keyring, id identity.NodeID, src netip.AddrPort, now time.Time) (cookie [16]byte) {
	c.follow(ring)
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(now.UnixMilli()))
	copy(cookie[:cookieTime], at[8-cookieTime:])
	seal(&cookie, c.keys[0], id, src)
	return cookie
}

// valid reports whether a cookie is for that device and address, not older than
// cookieTTL and not older than the time that has passed since notBefore, if that
// is not zero.
func (c *cookies) valid(ring identity.Keyring, cookie [16]byte, id identity.NodeID, src netip.AddrPort, now, notBefore time.Time) bool {
	if cookie == ([16]byte{}) {
		return false
	}
	var at [8]byte
	copy(at[8-cookieTime:], cookie[:cookieTime])
	const mask = 1<<(8*cookieTime) - 1
	// The difference of two 40-bit numbers, with its sign.
	age := int64((uint64(now.UnixMilli())-binary.BigEndian.Uint64(at[:]))&mask) << (64 - 8*cookieTime) >> (64 - 8*cookieTime)
	limit := cookieTTL.Milliseconds()
	if !notBefore.IsZero() {
		limit = min(limit, now.Sub(notBefore).Milliseconds()+1)
	}
	if age > limit || age < -cookieSkew.Milliseconds() {
		return false
	}
	c.follow(ring)
	for _, key := range c.keys {
		want := cookie
		seal(&want, key, id, src)
		if hmac.Equal(cookie[:], want[:]) {
			return true
		}
	}
	return false
}

// seal writes the MAC of a cookie whose time is set.
func seal(cookie *[16]byte, key [32]byte, id identity.NodeID, src netip.AddrPort) {
	addr := src.Addr().As16()
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], src.Port())
	h := hmac.New(sha256.New, key[:])
	h.Write(cookie[:cookieTime])
	h.Write(id[:])
	h.Write(addr[:])
	h.Write(port[:])
	var sum [sha256.Size]byte
	copy(cookie[cookieTime:], h.Sum(sum[:0]))
}
