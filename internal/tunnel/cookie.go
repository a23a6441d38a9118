package tunnel

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// CookieLife is how long a cookie is good for at least; it is good for less than twice as long.
const CookieLife = 120 * time.Second

const (
	macSize     = 16
	mac1Label   = "cyphonic tunnel mac1 v1\x00"
	cookieLabel = "cyphonic tunnel cookie v1\x00"
	windowLabel = "cyphonic tunnel cookie window v1\x00"
)

// CookieGuard decides, before any public-key work, whether a HandshakeInit is worth it. Always: MAC1 shows
// that the sender knows whom it writes to. Under load, which the caller defines: MAC2 shows that the sender
// receives at the address it writes from; who has none gets Reply, and nothing is remembered.
//
// MACs are HMAC-SHA256 cut to 16 bytes. MAC1's key is SHA-256(label ‖ responder's static public key). A cookie is
// the MAC of the source address and port under a secret of the current CookieLife; MAC2's key is the cookie.
// A CookieGuard is safe for concurrent use if its random source is.
type CookieGuard struct {
	rand   io.Reader
	secret [32]byte
}

// NewCookieGuard makes a guard with a secret of its own. Reply takes its nonces from rand.
func NewCookieGuard(rand io.Reader) (*CookieGuard, error) {
	g := &CookieGuard{rand: rand}
	if _, err := io.ReadFull(rand, g.secret[:]); err != nil {
		return nil, fmt.Errorf("tunnel: read randomness for a cookie secret: %w", err)
	}
	return g, nil
}

// CheckMAC1 reports whether b is a HandshakeInit or HandshakeResponse with the right MAC1 for static, the
// receiver's own public key.
func (*CookieGuard) CheckMAC1(static [32]byte, b []byte) bool { return checkMAC1(b, static) }

// CheckMAC2 reports whether b is a HandshakeInit whose MAC2 is made with a cookie for src.
func (g *CookieGuard) CheckMAC2(b []byte, src netip.AddrPort, now time.Time) bool {
	if _, err := wire.ParseHandshakeInit(b); err != nil {
		return false
	}
	n := len(b) - macSize
	window := now.Unix() / int64(CookieLife/time.Second)
	for _, w := range [2]int64{window, window - 1} {
		cookie := g.cookie(src, w)
		mac := shortMAC(cookie[:], b[:n])
		if hmac.Equal(mac[:], b[n:]) {
			return true
		}
	}
	return false
}

// Reply returns the CookieReply to b, a HandshakeInit with the right MAC1; else it fails with ErrMAC or a wire
// error. static is the receiver's own public key, src the address to which the reply goes.
func (g *CookieGuard) Reply(static [32]byte, b []byte, src netip.AddrPort, now time.Time) ([]byte, error) {
	m, err := wire.ParseHandshakeInit(b)
	if err != nil {
		return nil, err
	}
	if !checkMAC1(b, static) {
		return nil, ErrMAC
	}
	reply := wire.CookieReply{ReceiverIndex: m.SenderIndex}
	if _, err := io.ReadFull(g.rand, reply.Nonce[:]); err != nil {
		return nil, fmt.Errorf("tunnel: read randomness for a nonce: %w", err)
	}
	key := labelled(cookieLabel, static)
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	cookie := g.cookie(src, now.Unix()/int64(CookieLife/time.Second))
	aead.Seal(reply.EncCookie[:0], reply.Nonce[:], cookie[:], m.MAC1[:])
	return reply.Append(nil), nil
}

// cookie is a function of the guard's secret, the window and the source, so nothing is stored for it.
func (g *CookieGuard) cookie(src netip.AddrPort, window int64) [macSize]byte {
	h := hmac.New(sha256.New, g.secret[:])
	h.Write(binary.BigEndian.AppendUint64([]byte(windowLabel), uint64(window)))
	secret := h.Sum(nil)
	address := src.Addr().Unmap().As16()
	return shortMAC(secret, binary.BigEndian.AppendUint16(address[:], src.Port()))
}

// openCookie is Reply's other side. static is the responder's, mac1 that of the message answered.
func openCookie(m wire.CookieReply, static [32]byte, mac1 [macSize]byte) (cookie [macSize]byte, err error) {
	key := labelled(cookieLabel, static)
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		return cookie, fmt.Errorf("tunnel: %w", err)
	}
	b, err := aead.Open(nil, m.Nonce[:], m.EncCookie[:], mac1[:])
	if err != nil {
		return cookie, ErrAuth
	}
	copy(cookie[:], b)
	return cookie, nil
}

// mac1Offset returns where MAC1 is in a handshake message, or false if b is none or too short.
func mac1Offset(b []byte) (int, bool) {
	t, err := wire.PeekType(b)
	n := -1
	switch {
	case err != nil:
	case t == wire.TypeHandshakeInit:
		n = len(b) - 2*macSize
	case t == wire.TypeHandshakeResponse:
		n = len(b) - macSize
	}
	return n, n >= wire.HandshakeHeaderSize
}

// setMAC1 fills MAC1 in for a receiver and returns it.
func setMAC1(b []byte, static [32]byte) (mac [macSize]byte) {
	if n, ok := mac1Offset(b); ok {
		key := labelled(mac1Label, static)
		mac = shortMAC(key[:], b[:n])
		copy(b[n:], mac[:])
	}
	return mac
}

func checkMAC1(b []byte, static [32]byte) bool {
	n, ok := mac1Offset(b)
	if !ok {
		return false
	}
	key := labelled(mac1Label, static)
	mac := shortMAC(key[:], b[:n])
	return hmac.Equal(mac[:], b[n:n+macSize])
}

// setMAC2 fills MAC2 of a HandshakeInit in.
func setMAC2(init []byte, cookie [macSize]byte) {
	n := len(init) - macSize
	mac := shortMAC(cookie[:], init[:n])
	copy(init[n:], mac[:])
}

func shortMAC(key, b []byte) (mac [macSize]byte) {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	copy(mac[:], h.Sum(nil))
	return mac
}

func labelled(label string, static [32]byte) [32]byte {
	return sha256.Sum256(append([]byte(label), static[:]...))
}
