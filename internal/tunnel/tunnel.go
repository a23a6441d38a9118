// Package tunnel is the end-to-end association of two peers: the handshake that makes a session's keys, the
// cookie that protects the handshake under load, and the session that seals and opens data.
//
// It does no input or output, reads no clock and starts no goroutine; the caller moves datagrams and keeps
// time. It does not know paths, relays, policy or virtual IPs.
//
// Handshake: Noise_IK_25519_ChaChaPoly_SHA256 (Noise Protocol Framework, revision 34), certificates in the
// encrypted payloads, then ML-KEM-768 (FIPS 203) in the first transport message each way:
//
//	initiator                                                    responder
//	HandshakeInit      e, es, s, ss, {ciphers, certificate}   →
//	                   ← {cipher, certificate}, e, ee, se        HandshakeResponse
//	Data, counter 0    {encapsulation key}                    →
//	                   ← {ciphertext}                            Data, counter 0
//	Data under the session's keys                             ↔
//
// The prologue is a protocol label and the first 12 bytes of HandshakeInit (type, wire version, sender index,
// receiver tag); the first 12 bytes of HandshakeResponse are mixed into the hash before its tokens. So
// version, indexes and cipher choice are authenticated. The session's keys are
//
//	transcript = SHA-256(h ‖ first Data datagram ‖ second Data datagram)
//	HKDF-SHA256(secret: ck ‖ ML-KEM shared key, salt: transcript, info: label) → initiator's key ‖ responder's key
//
// where h and ck are Noise's final handshake hash and chaining key. Breaking them takes both X25519 and ML-KEM.
//
// Who holds end keys (property P1): X25519 private keys are in identity.DeviceKey on the end device; ephemeral
// keys, chaining keys and session keys exist only in this package's values, which have no exported field,
// accessor or encoding for them. The cloud's programs never import this package, and no message that they
// receive or forward in clear contains anything from which these keys could be computed; so AS, NMS, TRS
// and manager can refuse service, but cannot read or change what two peers say.
//
// Failing input changes nothing: each step works on a copy of the handshake state and replaces it at the end,
// Open touches no replay window, and Accept is called only for what Open has authenticated.
package tunnel

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/cpu"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Times of a session, measured by the caller from the moment at which Complete returned it.
const (
	RekeyAfter   = 120 * time.Second // the session's initiator begins a new handshake
	RejectAfter  = 180 * time.Second // nothing is sealed or opened any more: Erase
	RekeyTimeout = 5 * time.Second   // an unfinished handshake is given up and begun anew
)

// Message counts of a session and direction. AES-GCM loses security by data under one key; RFC 8446,
// section 5.5, allows 2^24.5 records of 2^14 bytes, which are 2^34.5 blocks. A full packet has less than
// 2^6.5 blocks, so 2^28 packets are within it.
const (
	RekeyAfterMessages  uint64 = 1 << 27
	RejectAfterMessages uint64 = 1 << 28
)

// Errors that callers branch on or count by. Errors of decoding are those of package wire.
var (
	ErrMAC         = errors.New("tunnel: MAC of the handshake message does not verify")
	ErrAuth        = errors.New("tunnel: authentication failed")
	ErrCertificate = errors.New("tunnel: certificate of the peer is not acceptable")
	ErrPeer        = errors.New("tunnel: peer is not the expected one")
	ErrCipher      = errors.New("tunnel: no common cipher")
	ErrIndex       = errors.New("tunnel: receiver index is of something else")
	ErrState       = errors.New("tunnel: message does not fit the state of the handshake")
	ErrHandshake   = errors.New("tunnel: datagram belongs to a handshake, not to its session")
	ErrCounter     = errors.New("tunnel: counter is beyond the end of the session")
	ErrErased      = errors.New("tunnel: handshake or session is erased")
)

// Cipher is the AEAD of a session's data.
type Cipher uint8

// The ciphers. Both have 256-bit keys, 96-bit nonces and 128-bit tags.
const (
	CipherAES256GCM        Cipher = 1
	CipherChaCha20Poly1305 Cipher = 2
)

// String returns the name used in status and metric labels.
func (c Cipher) String() string {
	switch c {
	case CipherAES256GCM:
		return "aes-256-gcm"
	case CipherChaCha20Poly1305:
		return "chacha20-poly1305"
	}
	return "unknown"
}

func (c Cipher) valid() bool { return c == CipherAES256GCM || c == CipherChaCha20Poly1305 }

// DefaultCiphers returns AES-256-GCM before ChaCha20-Poly1305 on a processor with AES and carry-less
// multiplication, and ChaCha20-Poly1305 alone on others. So AES is chosen exactly where both ends have it.
func DefaultCiphers() []Cipher {
	aes := cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ ||
		cpu.ARM64.HasAES && cpu.ARM64.HasPMULL ||
		cpu.S390X.HasAES && cpu.S390X.HasAESGCM
	if aes {
		return []Cipher{CipherAES256GCM, CipherChaCha20Poly1305}
	}
	return []Cipher{CipherChaCha20Poly1305}
}

// Config is what a handshake needs of its local identity. All fields but Ciphers are required.
type Config struct {
	Key         *identity.DeviceKey
	Certificate []byte // encoded, of Key
	// Verify decodes and verifies a peer's certificate, times included.
	Verify  func(raw []byte) (*identity.Certificate, error)
	Rand    io.Reader
	Ciphers []Cipher // in order of preference; none: DefaultCiphers
}

// checked returns the Config with defaults filled in.
func (c Config) checked() (Config, error) {
	switch {
	case c.Key == nil || c.Verify == nil || c.Rand == nil:
		return c, errors.New("tunnel: Config needs Key, Verify and Rand")
	case len(c.Certificate) == 0 || len(c.Certificate) > wire.MaxCertificate:
		return c, fmt.Errorf("tunnel: Config.Certificate has %d bytes, want 1 to %d", len(c.Certificate), wire.MaxCertificate)
	}
	if len(c.Ciphers) == 0 {
		c.Ciphers = DefaultCiphers()
	}
	if len(c.Ciphers) > wire.MaxCiphers || slices.ContainsFunc(c.Ciphers, func(v Cipher) bool { return !v.valid() }) {
		return c, fmt.Errorf("tunnel: Config.Ciphers %v has an unknown or too many", c.Ciphers)
	}
	return c, nil
}

// verify checks a peer's certificate and that it is of the static key that the handshake has proven.
func (c Config) verify(raw []byte, static [32]byte) (*identity.Certificate, error) {
	peer, err := c.Verify(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if peer.Public.Static != static {
		return nil, fmt.Errorf("%w: certificate of %s is for another key", ErrPeer, peer.FQDN)
	}
	if peer.Public == c.Key.Public() {
		return nil, fmt.Errorf("%w: it is this node itself", ErrPeer)
	}
	return peer, nil
}

// Wins reports whether local's handshake goes on where both peers have begun one at the same time: that of
// the higher NodeID does. The loser answers the other's HandshakeInit and erases its own Initiator.
func Wins(local, remote identity.NodeID) bool { return local.Compare(remote) > 0 }
