package tunnel

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"testing"

	flynn "github.com/flynn/noise"
)

// The pure Noise part is held against an independent implementation, github.com/flynn/noise, with the same
// keys and ephemerals, in both roles: every byte and the handshake hash must agree.

var flynnSuite = flynn.NewCipherSuite(flynn.DH25519, flynn.CipherChaChaPoly, flynn.HashSHA256)

type noiseKeys struct {
	initiator, responder   *ecdh.PrivateKey
	initiatorE, responderE []byte
	prologue               []byte
	payload1, payload2     []byte
}

func randomNoiseKeys(t *testing.T) noiseKeys {
	t.Helper()
	bytesOf := func(n int) []byte {
		b := make([]byte, n)
		if _, err := rand.Read(b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := func() *ecdh.PrivateKey {
		k, err := ecdh.X25519().NewPrivateKey(bytesOf(32))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	return noiseKeys{key(), key(), bytesOf(32), bytesOf(32), bytesOf(31), bytesOf(200), bytesOf(180)}
}

func (k noiseKeys) flynn(t *testing.T, initiator bool) *flynn.HandshakeState {
	t.Helper()
	c := flynn.Config{CipherSuite: flynnSuite, Pattern: flynn.HandshakeIK, Initiator: initiator, Prologue: k.prologue}
	if initiator {
		c.Random = bytes.NewReader(k.initiatorE)
		c.StaticKeypair = flynn.DHKey{Private: k.initiator.Bytes(), Public: k.initiator.PublicKey().Bytes()}
		c.PeerStatic = k.responder.PublicKey().Bytes()
	} else {
		c.Random = bytes.NewReader(k.responderE)
		c.StaticKeypair = flynn.DHKey{Private: k.responder.Bytes(), Public: k.responder.PublicKey().Bytes()}
	}
	hs, err := flynn.NewHandshakeState(c)
	if err != nil {
		t.Fatal(err)
	}
	return hs
}

func (k noiseKeys) initiate() noise {
	s := newNoise(k.prologue, k.initiator, k.responder.PublicKey().Bytes())
	s.remote = k.responder.PublicKey()
	return s
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestNoiseAgreesAsInitiator(t *testing.T) {
	k := randomNoiseKeys(t)
	other := k.flynn(t, false)
	s := k.initiate()
	e, static, payload, err := s.writeInit(bytes.NewReader(k.initiatorE), k.payload1)
	if err != nil {
		t.Fatal(err)
	}
	got, _, _, err := other.ReadMessage(nil, join(e[:], static[:], payload))
	if err != nil || !bytes.Equal(got, k.payload1) {
		t.Fatalf("message 1: %v", err)
	}
	message, toResponder, toInitiator, err := other.WriteMessage(nil, k.payload2)
	if err != nil {
		t.Fatal(err)
	}
	got, err = s.readResponse([32]byte(message[:32]), message[32:])
	if err != nil || !bytes.Equal(got, k.payload2) {
		t.Fatalf("message 2: %v", err)
	}
	checkTransport(t, &s, other, toResponder, toInitiator)
}

func TestNoiseAgreesAsResponder(t *testing.T) {
	k := randomNoiseKeys(t)
	other := k.flynn(t, true)
	s := newNoise(k.prologue, k.responder, k.responder.PublicKey().Bytes())
	message, _, _, err := other.WriteMessage(nil, k.payload1)
	if err != nil {
		t.Fatal(err)
	}
	remoteE, got, err := s.readInit([32]byte(message[:32]), [48]byte(message[32:80]), message[80:])
	if err != nil || !bytes.Equal(got, k.payload1) {
		t.Fatalf("message 1: %v", err)
	}
	e, payload, err := s.writeResponse(bytes.NewReader(k.responderE), remoteE, k.payload2)
	if err != nil {
		t.Fatal(err)
	}
	got, toResponder, toInitiator, err := other.ReadMessage(nil, join(e[:], payload))
	if err != nil || !bytes.Equal(got, k.payload2) {
		t.Fatalf("message 2: %v", err)
	}
	checkTransport(t, &s, other, toResponder, toInitiator)
}

func TestNoiseWritesTheSameBytes(t *testing.T) {
	k := randomNoiseKeys(t)
	other := k.flynn(t, true)
	want, _, _, err := other.WriteMessage(nil, k.payload1)
	if err != nil {
		t.Fatal(err)
	}
	s := k.initiate()
	e, static, payload, err := s.writeInit(bytes.NewReader(k.initiatorE), k.payload1)
	if err != nil || !bytes.Equal(want, join(e[:], static[:], payload)) {
		t.Fatalf("message 1 differs, %v", err)
	}
}

func checkTransport(t *testing.T, s *noise, other *flynn.HandshakeState, toResponder, toInitiator *flynn.CipherState) {
	t.Helper()
	if !bytes.Equal(s.h[:], other.ChannelBinding()) {
		t.Error("handshake hashes differ")
	}
	initiator, responder, err := s.split()
	if err != nil {
		t.Fatal(err)
	}
	if initiator != toResponder.UnsafeKey() || responder != toInitiator.UnsafeKey() {
		t.Error("transport keys differ")
	}
	sealed, err := noiseSeal(nil, initiator, 0, []byte("header"), []byte("first transport message"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := toResponder.Decrypt(nil, []byte("header"), sealed); err != nil || string(got) != "first transport message" {
		t.Errorf("first transport message: %q, %v", got, err)
	}
}

func TestNoiseRefusesPointsOfLowOrder(t *testing.T) {
	k := randomNoiseKeys(t)
	s := newNoise(k.prologue, k.responder, k.responder.PublicKey().Bytes())
	if _, _, err := s.readInit([32]byte{}, [48]byte{}, make([]byte, 16)); err == nil {
		t.Error("an ephemeral key of zeros is taken")
	}
}
