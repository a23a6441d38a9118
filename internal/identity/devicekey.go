package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
)

// DeviceKey is the private key of one end device: X25519 for tunnels, Ed25519 for logins. It never leaves
// the device that made it; a general node's is made and kept by its adapter.
type DeviceKey struct {
	static  *ecdh.PrivateKey
	signing ed25519.PrivateKey
	public  DevicePublic
}

// DevicePublic is the public half of a DeviceKey.
type DevicePublic struct {
	Static  [32]byte // X25519
	Signing [32]byte // Ed25519
}

// NodeID returns SHA-256(static ‖ signing).
func (p DevicePublic) NodeID() NodeID {
	var b [64]byte
	copy(b[:32], p.Static[:])
	copy(b[32:], p.Signing[:])
	return sha256.Sum256(b[:])
}

// Verify reports whether signature is the device's over message. It is false for a signing key of small
// order, under which anybody can make signatures.
func (p DevicePublic) Verify(message, signature []byte) bool {
	return len(signature) == ed25519.SignatureSize && !smallOrder(p.Signing) && ed25519.Verify(p.Signing[:], message, signature)
}

// NewDeviceKey makes a key from 64 bytes of rand.
func NewDeviceKey(rand io.Reader) (*DeviceKey, error) {
	var seeds [64]byte
	if _, err := io.ReadFull(rand, seeds[:]); err != nil {
		return nil, fmt.Errorf("identity: read randomness for a device key: %w", err)
	}
	return newDeviceKey(seeds[:])
}

func newDeviceKey(seeds []byte) (*DeviceKey, error) {
	static, err := ecdh.X25519().NewPrivateKey(seeds[:32])
	if err != nil {
		return nil, fmt.Errorf("%w: X25519 key: %v", ErrMalformed, err)
	}
	k := &DeviceKey{static: static, signing: ed25519.NewKeyFromSeed(seeds[32:])}
	copy(k.public.Static[:], static.PublicKey().Bytes())
	copy(k.public.Signing[:], k.signing.Public().(ed25519.PublicKey))
	return k, nil
}

const deviceKeyVersion = 1

// ParseDeviceKey reads what EncodePEM writes: version 1, X25519 scalar 32, Ed25519 seed 32.
func ParseDeviceKey(pem []byte) (*DeviceKey, error) {
	b, err := decodePEM(pemDeviceKey, pem)
	if err != nil {
		return nil, err
	}
	if len(b) != 65 || b[0] != deviceKeyVersion {
		return nil, fmt.Errorf("%w: device key", ErrMalformed)
	}
	return newDeviceKey(b[1:])
}

// EncodePEM returns the private key for the device's own state directory.
func (k *DeviceKey) EncodePEM() []byte {
	b := make([]byte, 0, 65)
	b = append(b, deviceKeyVersion)
	b = append(b, k.static.Bytes()...)
	return encodePEM(pemDeviceKey, append(b, k.signing.Seed()...))
}

// Public returns the public half.
func (k *DeviceKey) Public() DevicePublic { return k.public }

// NodeID is short for Public().NodeID().
func (k *DeviceKey) NodeID() NodeID { return k.public.NodeID() }

// Static returns the X25519 private key, for the tunnel's handshake.
func (k *DeviceKey) Static() *ecdh.PrivateKey { return k.static }

// Sign returns the Ed25519 signature over message. Callers put a label of their purpose in front.
func (k *DeviceKey) Sign(message []byte) []byte { return ed25519.Sign(k.signing, message) }
