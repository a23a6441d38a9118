package tunnel

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"fmt"
	"io"
	"slices"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Initiator is the side of a handshake that begins it. Steps: Message (and CookieReply) until Response
// succeeds, its datagram until Complete succeeds. It is not safe for concurrent use.
type Initiator struct {
	config     Config
	remote     identity.DevicePublic
	localIndex uint32
	erased     bool

	noise   noise // until Response
	message []byte
	mac1    [16]byte

	// From Response on.
	response    []byte // what was accepted
	remoteIndex uint32
	cipher      Cipher
	peer        *identity.Certificate
	keys        transportKeys
	kem         *mlkem.DecapsulationKey768
	kemDatagram []byte

	// From Complete on.
	completion []byte // what was accepted
	session    *Session
}

// NewInitiator begins a handshake with the peer whose keys are remote. remoteTag goes into
// HandshakeInit.ReceiverTag; the peer's datagrams will carry localIndex.
func NewInitiator(cfg Config, remote identity.DevicePublic, remoteTag, localIndex uint32) (*Initiator, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	remoteStatic, err := ecdh.X25519().NewPublicKey(remote.Static[:])
	if err != nil {
		return nil, fmt.Errorf("%w: static key: %v", ErrPeer, err)
	}
	payload := wire.InitPayload{Certificate: cfg.Certificate}
	for _, c := range cfg.Ciphers {
		payload.Ciphers = append(payload.Ciphers, uint8(c))
	}
	m := wire.HandshakeInit{SenderIndex: localIndex, ReceiverTag: remoteTag}
	i := &Initiator{config: cfg, remote: remote, localIndex: localIndex}
	i.noise = newNoise(prologue(m.Append(nil)), cfg.Key.Static(), remote.Static[:])
	i.noise.remote = remoteStatic
	m.Ephemeral, m.EncStatic, m.EncPayload, err = i.noise.writeInit(cfg.Rand, payload.Append(nil))
	if err != nil {
		return nil, err
	}
	i.message = m.Append(nil)
	i.mac1 = setMAC1(i.message, remote.Static)
	return i, nil
}

// LocalIndex returns the index that the peer's datagrams carry.
func (i *Initiator) LocalIndex() uint32 { return i.localIndex }

// Message returns the HandshakeInit. The bytes are the same at each call until CookieReply succeeds, and
// must not be changed.
func (i *Initiator) Message() []byte { return i.message }

// CookieReply takes the answer of a responder under load; Message carries MAC2 from then on.
func (i *Initiator) CookieReply(b []byte) error {
	m, err := wire.ParseCookieReply(b)
	switch {
	case err != nil:
		return err
	case m.ReceiverIndex != i.localIndex:
		return ErrIndex
	case i.erased:
		return ErrErased
	case i.response != nil:
		return ErrState
	}
	cookie, err := openCookie(m, i.remote.Static, i.mac1)
	if err != nil {
		return err
	}
	message := bytes.Clone(i.message) // the old one may still be in a send queue
	setMAC2(message, cookie)
	i.message = message
	return nil
}

// Response takes the HandshakeResponse and returns the first transport datagram, to be sent until Complete
// succeeds. Called again with the same HandshakeResponse, it returns the same datagram.
func (i *Initiator) Response(b []byte) ([]byte, error) {
	switch {
	case i.erased:
		return nil, ErrErased
	case i.response != nil && bytes.Equal(b, i.response):
		return i.kemDatagram, nil
	case i.response != nil:
		return nil, ErrState
	}
	m, err := wire.ParseHandshakeResponse(b)
	switch {
	case err != nil:
		return nil, err
	case m.ReceiverIndex != i.localIndex:
		return nil, ErrIndex
	case !checkMAC1(b, i.config.Key.Public().Static):
		return nil, ErrMAC
	}
	state := i.noise
	defer state.erase()
	state.mixHash(b[:wire.HandshakeHeaderSize])
	plaintext, err := state.readResponse(m.Ephemeral, m.EncPayload)
	if err != nil {
		return nil, err
	}
	payload, peer, err := i.checkResponse(plaintext)
	if err != nil {
		return nil, err
	}
	keys, err := newTransportKeys(&state)
	if err != nil {
		return nil, err
	}
	kem, datagram, err := newKEM(i.config.Rand, keys.initiator, m.SenderIndex)
	if err != nil {
		keys.erase()
		return nil, err
	}
	i.noise.erase()
	i.response, i.remoteIndex, i.cipher, i.peer = bytes.Clone(b), m.SenderIndex, Cipher(payload.Cipher), peer
	i.keys, i.kem, i.kemDatagram = keys, kem, datagram
	return datagram, nil
}

// checkResponse holds the responder's payload against what was offered and who was meant.
func (i *Initiator) checkResponse(plaintext []byte) (wire.ResponsePayload, *identity.Certificate, error) {
	payload, err := wire.ParseResponsePayload(plaintext)
	if err != nil {
		return payload, nil, err
	}
	if !slices.Contains(i.config.Ciphers, Cipher(payload.Cipher)) {
		return payload, nil, fmt.Errorf("%w: peer chose %d, which was not offered", ErrCipher, payload.Cipher)
	}
	peer, err := i.config.verify(payload.Certificate, i.remote.Static)
	if err != nil {
		return payload, nil, err
	}
	if peer.Public != i.remote {
		return payload, nil, fmt.Errorf("%w: certificate of %s has another signing key", ErrPeer, peer.FQDN)
	}
	return payload, peer, nil
}

func newKEM(rand io.Reader, key [32]byte, remoteIndex uint32) (*mlkem.DecapsulationKey768, []byte, error) {
	var seed [mlkem.SeedSize]byte
	defer clear(seed[:])
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, nil, fmt.Errorf("tunnel: read randomness for a KEM key: %w", err)
	}
	kem, err := mlkem.NewDecapsulationKey768(seed[:])
	if err != nil {
		return nil, nil, fmt.Errorf("tunnel: KEM key: %w", err)
	}
	var control wire.KEMKey
	copy(control.Key[:], kem.EncapsulationKey().Bytes())
	datagram, err := sealHandshakeData(key, remoteIndex, &control)
	return kem, datagram, err
}

// Complete takes the responder's transport datagram and returns the session. Called again with the same
// datagram, it returns the same session.
func (i *Initiator) Complete(b []byte) (*Session, error) {
	switch {
	case i.erased:
		return nil, ErrErased
	case i.response == nil:
		return nil, ErrState
	case i.session != nil && bytes.Equal(b, i.completion):
		return i.session, nil
	case i.session != nil:
		return nil, ErrState
	}
	control, err := openHandshakeData(i.keys.responder, i.localIndex, b)
	if err != nil {
		return nil, err
	}
	m, ok := control.(*wire.KEMCiphertext)
	if !ok {
		return nil, ErrState
	}
	secret, err := i.kem.Decapsulate(m.Ciphertext[:])
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrAuth, err)
	}
	defer clear(secret)
	send, receive, err := i.keys.sessionAEADs(i.cipher, secret, i.kemDatagram, b)
	if err != nil {
		return nil, err
	}
	i.session = newSession(i.localIndex, i.remoteIndex, i.peer, true, i.cipher, send, receive)
	i.completion = bytes.Clone(b)
	i.keys.erase()
	i.kem = nil
	return i.session, nil
}

// Erase gives the handshake up and forgets its keys; every later step fails with ErrErased. A session that it
// has made goes on.
func (i *Initiator) Erase() {
	i.erased = true
	i.noise.erase()
	i.keys.erase()
	i.kem, i.session = nil, nil
}
