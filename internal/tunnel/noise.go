package tunnel

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

const noiseName = "Noise_IK_25519_ChaChaPoly_SHA256" // 32 bytes: it is its own initial hash

// noise is the handshake state of the IK pattern. It is a value: a step that may fail is done on a copy.
// Section numbers are of the Noise Protocol Framework, revision 34.
type noise struct {
	h, ck [32]byte
	k     [32]byte
	n     uint64

	static    *ecdh.PrivateKey
	ephemeral *ecdh.PrivateKey
	remote    *ecdh.PublicKey // static; unknown to the responder before message 1
}

// newNoise initialises with the responder's static key as pre-message (section 5.3, pattern "<- s").
func newNoise(prologue []byte, static *ecdh.PrivateKey, responder []byte) noise {
	s := noise{static: static}
	copy(s.h[:], noiseName)
	s.ck = s.h
	s.mixHash(prologue)
	s.mixHash(responder)
	return s
}

func (s *noise) mixHash(data []byte) {
	h := sha256.New()
	h.Write(s.h[:])
	h.Write(data)
	h.Sum(s.h[:0])
}

// mixKey is HKDF with two outputs (section 4.3), which is RFC 5869 with empty info.
func (s *noise) mixKey(input []byte) error {
	out, err := hkdf.Key(sha256.New, input, s.ck[:], "", 64)
	if err != nil {
		return fmt.Errorf("tunnel: HKDF: %w", err)
	}
	copy(s.ck[:], out)
	copy(s.k[:], out[32:])
	s.n = 0
	clear(out)
	return nil
}

func (s *noise) mixDH(private *ecdh.PrivateKey, public *ecdh.PublicKey) error {
	secret, err := private.ECDH(public) // fails for a point of low order (RFC 7748, section 6.1)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrAuth, err)
	}
	defer clear(secret)
	return s.mixKey(secret)
}

// encrypt is EncryptAndHash (section 5.2).
func (s *noise) encrypt(plaintext []byte) ([]byte, error) {
	ciphertext, err := noiseSeal(nil, s.k, s.n, s.h[:], plaintext)
	if err != nil {
		return nil, err
	}
	s.n++
	s.mixHash(ciphertext)
	return ciphertext, nil
}

// decrypt is DecryptAndHash (section 5.2).
func (s *noise) decrypt(ciphertext []byte) ([]byte, error) {
	plaintext, err := noiseOpen(s.k, s.n, s.h[:], ciphertext)
	if err != nil {
		return nil, err
	}
	s.n++
	s.mixHash(ciphertext)
	return plaintext, nil
}

// split returns the transport keys, initiator's first (section 5.2).
func (s *noise) split() (initiator, responder [32]byte, err error) {
	out, err := hkdf.Key(sha256.New, nil, s.ck[:], "", 64)
	if err != nil {
		return initiator, responder, fmt.Errorf("tunnel: HKDF: %w", err)
	}
	copy(initiator[:], out)
	copy(responder[:], out[32:])
	clear(out)
	return initiator, responder, nil
}

func (s *noise) erase() { *s = noise{} }

// makeEphemeral makes the ephemeral key and writes token "e".
func (s *noise) makeEphemeral(rand io.Reader) (public [32]byte, err error) {
	var seed [32]byte
	defer clear(seed[:])
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return public, fmt.Errorf("tunnel: read randomness for an ephemeral key: %w", err)
	}
	if s.ephemeral, err = ecdh.X25519().NewPrivateKey(seed[:]); err != nil {
		return public, fmt.Errorf("tunnel: ephemeral key: %w", err)
	}
	copy(public[:], s.ephemeral.PublicKey().Bytes())
	s.mixHash(public[:])
	return public, nil
}

// writeInit is message 1: e, es, s, ss, payload.
func (s *noise) writeInit(rand io.Reader, payload []byte) (e [32]byte, encStatic [48]byte, encPayload []byte, err error) {
	if e, err = s.makeEphemeral(rand); err != nil {
		return e, encStatic, nil, err
	}
	if err = s.mixDH(s.ephemeral, s.remote); err != nil {
		return e, encStatic, nil, err
	}
	b, err := s.encrypt(s.static.PublicKey().Bytes())
	if err != nil {
		return e, encStatic, nil, err
	}
	copy(encStatic[:], b)
	if err = s.mixDH(s.static, s.remote); err != nil {
		return e, encStatic, nil, err
	}
	encPayload, err = s.encrypt(payload)
	return e, encStatic, encPayload, err
}

// readInit is writeInit's other side; it returns the initiator's ephemeral key and the payload.
func (s *noise) readInit(e [32]byte, encStatic [48]byte, encPayload []byte) (*ecdh.PublicKey, []byte, error) {
	remoteEphemeral, err := ecdh.X25519().NewPublicKey(e[:])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrAuth, err)
	}
	s.mixHash(e[:])
	if err := s.mixDH(s.static, remoteEphemeral); err != nil {
		return nil, nil, err
	}
	static, err := s.decrypt(encStatic[:])
	if err != nil {
		return nil, nil, err
	}
	if s.remote, err = ecdh.X25519().NewPublicKey(static); err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrAuth, err)
	}
	if err := s.mixDH(s.static, s.remote); err != nil {
		return nil, nil, err
	}
	payload, err := s.decrypt(encPayload)
	return remoteEphemeral, payload, err
}

// writeResponse is message 2: e, ee, se, payload.
func (s *noise) writeResponse(rand io.Reader, remoteEphemeral *ecdh.PublicKey, payload []byte) (e [32]byte, encPayload []byte, err error) {
	if e, err = s.makeEphemeral(rand); err != nil {
		return e, nil, err
	}
	if err = s.mixDH(s.ephemeral, remoteEphemeral); err != nil {
		return e, nil, err
	}
	if err = s.mixDH(s.ephemeral, s.remote); err != nil {
		return e, nil, err
	}
	encPayload, err = s.encrypt(payload)
	return e, encPayload, err
}

// readResponse is writeResponse's other side.
func (s *noise) readResponse(e [32]byte, encPayload []byte) ([]byte, error) {
	remoteEphemeral, err := ecdh.X25519().NewPublicKey(e[:])
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrAuth, err)
	}
	s.mixHash(e[:])
	if err := s.mixDH(s.ephemeral, remoteEphemeral); err != nil {
		return nil, err
	}
	if err := s.mixDH(s.static, remoteEphemeral); err != nil {
		return nil, err
	}
	return s.decrypt(encPayload)
}

// noiseSeal and noiseOpen are ChaChaPoly with Noise's nonce: 4 zero bytes, then n little endian (section 12.3).
func noiseSeal(dst []byte, key [32]byte, n uint64, additional, plaintext []byte) ([]byte, error) {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	nonce := noiseNonce(n)
	return aead.Seal(dst, nonce[:], plaintext, additional), nil
}

func noiseOpen(key [32]byte, n uint64, additional, ciphertext []byte) ([]byte, error) {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	nonce := noiseNonce(n)
	plaintext, err := aead.Open(nil, nonce[:], ciphertext, additional)
	if err != nil {
		return nil, ErrAuth
	}
	return plaintext, nil
}

func noiseNonce(n uint64) (nonce [chacha20poly1305.NonceSize]byte) {
	binary.LittleEndian.PutUint64(nonce[4:], n)
	return nonce
}
