package identity

import (
	"fmt"
	"io"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

const (
	relayTokenVersion = 1
	relayTokenLabel   = "cyphonic relay token v1"
)

// RelayToken allows one side of a pair to bind its address at the TRS. The NMS mints both sides' tokens.
// Sealed with the relay keyring (see Keyring), its plaintext is:
//
//	 0  version 1
//	 1  session 16                  random, the same at both sides
//	17  side u8, 0 or 1
//	18  bind key 32                 of this side, for the MACs of relay messages
//	50  not after u64               seconds since 1970-01-01 UTC
//	58  bytes per second u32        quota of the session; 0 = the TRS's default
//	62  network                     length u8
type RelayToken struct {
	Session        [16]byte
	Side           uint8
	BindKey        [32]byte
	Network        string
	NotAfter       time.Time
	BytesPerSecond uint32
}

// SealRelayToken fails with ErrTooLong if the network's name does not fit into wire.MaxRelayToken.
func SealRelayToken(rand io.Reader, ring Keyring, t RelayToken) ([]byte, error) {
	if t.Side > 1 {
		return nil, fmt.Errorf("%w: relay side %d", ErrMalformed, t.Side)
	}
	var w writer
	w.u8(relayTokenVersion)
	w.bytes(t.Session[:])
	w.u8(t.Side)
	w.bytes(t.BindKey[:])
	w.time(t.NotAfter)
	w.u32(t.BytesPerSecond)
	w.string("network", t.Network, MaxName)
	if w.err != nil {
		return nil, w.err
	}
	return ring.seal(rand, relayTokenLabel, w.b, wire.MaxRelayToken)
}

// OpenRelayToken fails with ErrMalformed, ErrUnknownKey, ErrSeal or ErrExpired. With ErrExpired the token is
// returned too, so that the TRS can sign its refusal.
func OpenRelayToken(ring Keyring, b []byte, now time.Time) (*RelayToken, error) {
	plaintext, err := ring.open(relayTokenLabel, b, wire.MaxRelayToken)
	if err != nil {
		return nil, err
	}
	t := new(RelayToken)
	r := newReader(plaintext)
	r.version(relayTokenVersion)
	r.copyTo(t.Session[:])
	t.Side = r.u8()
	r.check(t.Side <= 1)
	r.copyTo(t.BindKey[:])
	t.NotAfter = r.time()
	t.BytesPerSecond = r.u32()
	t.Network = r.string(MaxName)
	if !r.done() {
		return nil, fmt.Errorf("%w: relay token", ErrMalformed)
	}
	if now.After(t.NotAfter) {
		return t, fmt.Errorf("relay token: %w", ErrExpired)
	}
	return t, nil
}
