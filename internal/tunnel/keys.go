package tunnel

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/cyphonic/cyphonic/internal/wire"
)

const (
	prologueLabel = "cyphonic tunnel v1\x00"
	sessionLabel  = "cyphonic tunnel session v1"
)

// prologue is what both ends must agree on before the first key: the protocol and the header of HandshakeInit.
func prologue(init []byte) []byte {
	return append([]byte(prologueLabel), init[:wire.HandshakeHeaderSize]...)
}

// transportKeys are what is left of Noise after message 2: enough for the two messages of the KEM.
type transportKeys struct {
	h, ck                [32]byte
	initiator, responder [32]byte // of Noise's Split
}

func newTransportKeys(s *noise) (transportKeys, error) {
	initiator, responder, err := s.split()
	return transportKeys{h: s.h, ck: s.ck, initiator: initiator, responder: responder}, err
}

func (t *transportKeys) erase() { *t = transportKeys{} }

// sealHandshakeData makes the only datagram that a transport key ever seals: counter 0, so nonce 0.
func sealHandshakeData(key [32]byte, index uint32, control wire.Control) ([]byte, error) {
	b := wire.AppendDataHeader(nil, wire.FlagControl|wire.FlagHandshake, index, 0)
	return noiseSeal(b, key, 0, b[:wire.DataHeaderSize], control.AppendControl(nil))
}

// openHandshakeData is sealHandshakeData's other side. index is the receiver's own.
func openHandshakeData(key [32]byte, index uint32, datagram []byte) (wire.Control, error) {
	header, err := wire.ParseDataHeader(datagram)
	switch {
	case err != nil:
		return nil, err
	case header.Flags != wire.FlagControl|wire.FlagHandshake || header.Counter != 0:
		return nil, ErrState
	case header.ReceiverIndex != index:
		return nil, ErrIndex
	}
	plaintext, err := noiseOpen(key, 0, datagram[:wire.DataHeaderSize], datagram[wire.DataHeaderSize:])
	if err != nil {
		return nil, err
	}
	return wire.ParseControl(plaintext)
}

// sessionAEADs derives the session's two AEADs; see the package comment. The keys themselves are zeroed.
func (t *transportKeys) sessionAEADs(c Cipher, kemSecret, first, second []byte) (initiator, responder cipher.AEAD, err error) {
	transcript := sha256.Sum256(bytes.Join([][]byte{t.h[:], first, second}, nil))
	secret := append(bytes.Clone(t.ck[:]), kemSecret...)
	defer clear(secret)
	keys, err := hkdf.Key(sha256.New, secret, transcript[:], sessionLabel, 64)
	if err != nil {
		return nil, nil, fmt.Errorf("tunnel: HKDF: %w", err)
	}
	defer clear(keys)
	if initiator, err = newAEAD(c, keys[:32]); err != nil {
		return nil, nil, err
	}
	responder, err = newAEAD(c, keys[32:])
	return initiator, responder, err
}

func newAEAD(c Cipher, key []byte) (cipher.AEAD, error) {
	switch c {
	case CipherAES256GCM:
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("tunnel: %w", err)
		}
		return cipher.NewGCM(block)
	case CipherChaCha20Poly1305:
		return chacha20poly1305.New(key)
	}
	return nil, ErrCipher
}
