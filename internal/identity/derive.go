package identity

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"slices"
)

// deriveSalt separates what is derived here from every other use of the key.
const deriveSalt = "cyphonic device key, derived secrets, v1"

// Derive returns a secret of the device for one purpose (RFC 5869, SHA-256): who knows it learns nothing about the key or about secrets for other
// purposes. It changes with the key.
func (k *DeviceKey) Derive(purpose string) ([32]byte, error) {
	var out [32]byte
	if purpose == "" {
		return out, fmt.Errorf("identity: derive a secret: no purpose")
	}
	secret := slices.Concat(k.static.Bytes(), k.signing.Seed())
	b, err := hkdf.Key(sha256.New, secret, []byte(deriveSalt), purpose, len(out))
	clear(secret)
	if err != nil {
		return out, fmt.Errorf("identity: derive a secret: %w", err)
	}
	copy(out[:], b)
	return out, nil
}
