package trs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
)

// cookies are stateless proofs that the holder of a token receives at an
// address: an HMAC with a secret of this process over which side, where and when.
type cookies struct{ secret [32]byte }

func (c *cookies) make(t *identity.RelayToken, src netip.AddrPort, now time.Time) [16]byte {
	return c.at(t, src, now.UnixNano()/int64(cookieWindow))
}

// valid accepts cookies of this and the last window.
func (c *cookies) valid(cookie [16]byte, t *identity.RelayToken, src netip.AddrPort, now time.Time) bool {
	if cookie == ([16]byte{}) {
		return false
	}
	window := now.UnixNano() / int64(cookieWindow)
	current, last := c.at(t, src, window), c.at(t, src, window-1)
	return hmac.Equal(cookie[:], current[:]) || hmac.Equal(cookie[:], last[:])
}

func (c *cookies) at(t *identity.RelayToken, src netip.AddrPort, window int64) (cookie [16]byte) {
	addr := src.Addr().As16()
	var tail [11]byte
	tail[0] = t.Side
	binary.BigEndian.PutUint16(tail[1:], src.Port())
	binary.BigEndian.PutUint64(tail[3:], uint64(window))
	h := hmac.New(sha256.New, c.secret[:])
	h.Write(t.Session[:])
	h.Write(addr[:])
	h.Write(tail[:])
	copy(cookie[:], h.Sum(nil))
	return cookie
}
