package identity

import (
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// SealingKey is a symmetric key that the replicas of a service share. Ticket, relay and access keys are
// different keys; the label of each sealed form keeps them apart even if one key were used for all.
type SealingKey struct {
	ID  uint32
	Key [32]byte
}

// Keyring seals with Current and opens with any of its keys, so that keys can be rotated while tokens live.
type Keyring struct {
	Current  SealingKey
	Previous []SealingKey // at most MaxPreviousKey are looked at
}

const (
	sealHeader   = 4 + chacha20poly1305.NonceSizeX
	sealOverhead = sealHeader + chacha20poly1305.Overhead
)

// seal returns key id u32 | nonce 24 | XChaCha20-Poly1305 ciphertext + tag 16. Additional data: label ‖ key id.
func (k Keyring) seal(rand io.Reader, label string, plaintext []byte, limit int) ([]byte, error) {
	if n := sealOverhead + len(plaintext); n > limit {
		return nil, fmt.Errorf("%w: %s would have %d bytes, at most %d: shorten its names", ErrTooLong, label, n, limit)
	}
	b := make([]byte, sealHeader, sealOverhead+len(plaintext))
	binary.BigEndian.PutUint32(b, k.Current.ID)
	if _, err := io.ReadFull(rand, b[4:]); err != nil {
		return nil, fmt.Errorf("identity: read randomness for a nonce: %w", err)
	}
	aead, err := chacha20poly1305.NewX(k.Current.Key[:])
	if err != nil {
		return nil, fmt.Errorf("identity: %s: %w", label, err)
	}
	return aead.Seal(b, b[4:sealHeader], plaintext, append([]byte(label), b[:4]...)), nil
}

// open is the reverse of seal. It fails with ErrMalformed, ErrUnknownKey or ErrSeal.
func (k Keyring) open(label string, b []byte, limit int) ([]byte, error) {
	if len(b) < sealOverhead || len(b) > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrMalformed, label, len(b))
	}
	key, ok := k.find(binary.BigEndian.Uint32(b))
	if !ok {
		return nil, fmt.Errorf("%s: %w", label, ErrUnknownKey)
	}
	aead, err := chacha20poly1305.NewX(key.Key[:])
	if err != nil {
		return nil, fmt.Errorf("identity: %s: %w", label, err)
	}
	plaintext, err := aead.Open(nil, b[4:sealHeader], b[sealHeader:], append([]byte(label), b[:4]...))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, ErrSeal)
	}
	return plaintext, nil
}

func (k Keyring) find(id uint32) (SealingKey, bool) {
	if k.Current.ID == id {
		return k.Current, true
	}
	for i, key := range k.Previous {
		if i < MaxPreviousKey && key.ID == id {
			return key, true
		}
	}
	return SealingKey{}, false
}
