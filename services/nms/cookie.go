package nms

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
)

// cookies are stateless proofs that a device receives at an address: an HMAC
// with a secret of this process over who, where and when.
type cookies struct{ secret [32]byte }

func (c *cookies) make(id identity.NodeID, src netip.AddrPort, now time.Time) [16]byte {
	return c.at(id, src, now.UnixNano()/int64(cookieWindow))
}

// valid accepts cookies of this and the last window.
func (c *cookies) valid(cookie [16]byte, id identity.NodeID, src netip.AddrPort, now time.Time) bool {
	if cookie == ([16]byte{}) {
		return false
	}
	window := now.UnixNano() / int64(cookieWindow)
	current, last := c.at(id, src, window), c.at(id, src, window-1)
	return hmac.Equal(cookie[:], current[:]) || hmac.Equal(cookie[:], last[:])
}

func (c *cookies) at(id identity.NodeID, src netip.AddrPort, window int64) (cookie [16]byte) {
	addr := src.Addr().As16()
	h := hmac.New(sha256.New, c.secret[:])
	h.Write(id[:])
	h.Write(addr[:])
	var tail [10]byte
	binary.BigEndian.PutUint16(tail[:], src.Port())
	binary.BigEndian.PutUint64(tail[2:], uint64(window))
	h.Write(tail[:])
	copy(cookie[:], h.Sum(nil))
	return cookie
}
