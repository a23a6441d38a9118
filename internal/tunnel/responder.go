package tunnel

import (
	"bytes"
	"crypto/mlkem"
	"fmt"
	"slices"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Responder is the side of a handshake that answers. It is not safe for concurrent use.
//
// A HandshakeInit can be replayed, also to a responder that has seen it: the replay makes a Responder that
// never completes, because completing needs the initiator's ephemeral key. The caller therefore bounds
// unfinished Responders, answers a repeated HandshakeInit with the response it has, and replaces a pair's
// session only when Complete has succeeded.
type Responder struct {
	localIndex, remoteIndex uint32
	cipher                  Cipher
	peer                    *identity.Certificate
	keys                    transportKeys
	erased                  bool

	// From Complete on.
	completion []byte // what was accepted
	reply      []byte
	session    *Session
}

// NewResponder takes a HandshakeInit and returns the HandshakeResponse to it. The initiator's datagrams will
// carry localIndex. The certificate of the returned Responder's Peer is verified; whether this peer may
// open a tunnel is for the caller to decide before the response is sent. Without success there is no
// state. The cookie (MAC2) is the caller's to check before, see CookieGuard.
func NewResponder(cfg Config, localIndex uint32, init []byte) (*Responder, []byte, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, nil, err
	}
	m, err := wire.ParseHandshakeInit(init)
	if err != nil {
		return nil, nil, err
	}
	own := cfg.Key.Public().Static
	if !checkMAC1(init, own) {
		return nil, nil, ErrMAC
	}
	state := newNoise(prologue(init), cfg.Key.Static(), own[:])
	defer state.erase()
	remoteEphemeral, plaintext, err := state.readInit(m.Ephemeral, m.EncStatic, m.EncPayload)
	if err != nil {
		return nil, nil, err
	}
	payload, err := wire.ParseInitPayload(plaintext)
	if err != nil {
		return nil, nil, err
	}
	remoteStatic := [32]byte(state.remote.Bytes())
	peer, err := cfg.verify(payload.Certificate, remoteStatic)
	if err != nil {
		return nil, nil, err
	}
	choice, err := chooseCipher(cfg.Ciphers, payload.Ciphers)
	if err != nil {
		return nil, nil, err
	}
	response := wire.HandshakeResponse{SenderIndex: localIndex, ReceiverIndex: m.SenderIndex}
	state.mixHash(response.Append(nil)[:wire.HandshakeHeaderSize])
	answer := wire.ResponsePayload{Cipher: uint8(choice), Certificate: cfg.Certificate}
	response.Ephemeral, response.EncPayload, err = state.writeResponse(cfg.Rand, remoteEphemeral, answer.Append(nil))
	if err != nil {
		return nil, nil, err
	}
	keys, err := newTransportKeys(&state)
	if err != nil {
		return nil, nil, err
	}
	b := response.Append(nil)
	setMAC1(b, remoteStatic)
	return &Responder{
		localIndex: localIndex, remoteIndex: m.SenderIndex,
		cipher: choice, peer: peer, keys: keys,
	}, b, nil
}

// chooseCipher returns the responder's first preference among those offered; unknown offers are passed over.
func chooseCipher(own []Cipher, offered []uint8) (Cipher, error) {
	for _, c := range own {
		if slices.Contains(offered, uint8(c)) {
			return c, nil
		}
	}
	return 0, fmt.Errorf("%w: peer offers %v, this node has %v", ErrCipher, offered, own)
}

// LocalIndex returns the index that the initiator's datagrams carry.
func (r *Responder) LocalIndex() uint32 { return r.localIndex }

// RemoteIndex returns the initiator's index.
func (r *Responder) RemoteIndex() uint32 { return r.remoteIndex }

// Peer returns the initiator's verified certificate.
func (r *Responder) Peer() *identity.Certificate { return r.peer }

// Complete takes the initiator's transport datagram and returns the session and the reply, which is to be
// sent before anything of the session. Called again with the same datagram, it returns the same both.
func (r *Responder) Complete(b []byte) (*Session, []byte, error) {
	switch {
	case r.erased:
		return nil, nil, ErrErased
	case r.session != nil && bytes.Equal(b, r.completion):
		return r.session, r.reply, nil
	case r.session != nil:
		return nil, nil, ErrState
	}
	control, err := openHandshakeData(r.keys.initiator, r.localIndex, b)
	if err != nil {
		return nil, nil, err
	}
	m, ok := control.(*wire.KEMKey)
	if !ok {
		return nil, nil, ErrState
	}
	encapsulation, err := mlkem.NewEncapsulationKey768(m.Key[:]) // checks the modulus (FIPS 203, section 7.2)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrAuth, err)
	}
	secret, ciphertext := encapsulation.Encapsulate()
	defer clear(secret)
	var answer wire.KEMCiphertext
	copy(answer.Ciphertext[:], ciphertext)
	reply, err := sealHandshakeData(r.keys.responder, r.remoteIndex, &answer)
	if err != nil {
		return nil, nil, err
	}
	receive, send, err := r.keys.sessionAEADs(r.cipher, secret, b, reply)
	if err != nil {
		return nil, nil, err
	}
	r.session = newSession(r.localIndex, r.remoteIndex, r.peer, false, r.cipher, send, receive)
	r.completion, r.reply = bytes.Clone(b), reply
	r.keys.erase()
	return r.session, reply, nil
}

// Erase gives the handshake up and forgets its keys; every later step fails with ErrErased. A session that it
// has made goes on.
func (r *Responder) Erase() {
	r.erased = true
	r.keys.erase()
	r.reply, r.session = nil, nil
}
