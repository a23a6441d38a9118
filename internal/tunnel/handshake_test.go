package tunnel

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestHandshakeMakesASessionAtBothEnds(t *testing.T) {
	a := newAuthority(t)
	viewer, camera := a.node(t, "viewer"), a.node(t, "cam1")
	ours, theirs := mustConnect(t, viewer, camera)
	mustPass(t, ours, theirs, "to the camera")
	mustPass(t, theirs, ours, "to the viewer")
	if !ours.Initiator() || theirs.Initiator() || ours.Cipher() != theirs.Cipher() {
		t.Errorf("roles or ciphers: %v %v, %v %v", ours.Initiator(), theirs.Initiator(), ours.Cipher(), theirs.Cipher())
	}
	if ours.LocalIndex() != initiatorIndex || ours.RemoteIndex() != responderIndex ||
		theirs.LocalIndex() != responderIndex || theirs.RemoteIndex() != initiatorIndex {
		t.Errorf("indexes: %x %x, %x %x", ours.LocalIndex(), ours.RemoteIndex(), theirs.LocalIndex(), theirs.RemoteIndex())
	}
	if ours.Peer().FQDN != "cam1.example.internal" || theirs.Peer().FQDN != "viewer.example.internal" {
		t.Errorf("peers: %s, %s", ours.Peer(), theirs.Peer())
	}
}

func TestRepeatedMessagesGiveTheSameAnswers(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	i := mustInitiate(t, from, to)
	if !bytes.Equal(i.Message(), bytes.Clone(i.Message())) {
		t.Error("Message changes")
	}
	r, response := mustRespond(t, to, i.Message())
	kem, err := i.Response(response)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := i.Response(response); err != nil || !bytes.Equal(again, kem) {
		t.Errorf("Response again: %v", err)
	}
	theirs, reply, err := r.Complete(kem)
	if err != nil {
		t.Fatal(err)
	}
	if s, again, err := r.Complete(kem); err != nil || s != theirs || !bytes.Equal(again, reply) {
		t.Errorf("responder's Complete again: %v", err)
	}
	ours, err := i.Complete(reply)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := i.Complete(reply); err != nil || s != ours {
		t.Errorf("initiator's Complete again: %v", err)
	}
	if again, err := i.Response(response); err != nil || !bytes.Equal(again, kem) {
		t.Errorf("Response after Complete: %v", err)
	}
	mustPass(t, ours, theirs, "still the same keys")
	mustPass(t, theirs, ours, "still the same keys")
}

func TestEverySessionHasItsOwnKeys(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	first, _ := mustConnect(t, from, to)
	second, other := mustConnect(t, from, to)
	datagram := first.Seal(nil, 0, 0, []byte("one"))
	if _, err := other.Open(nil, datagram); !errors.Is(err, ErrAuth) {
		t.Errorf("the first session's datagram opens in the second: %v", err)
	}
	reflected := second.Seal(nil, 0, 0, []byte("one"))
	copy(reflected[4:8], []byte{0x11, 0x11, 0x11, 0x11})
	if _, err := second.Open(nil, reflected); !errors.Is(err, ErrAuth) {
		t.Errorf("a reflected datagram opens: %v", err)
	}
}

// TestNoChangedHandshakeMessageIsTaken flips a bit in each byte of each message and cuts each message at each
// length. The step fails, and then goes on with the genuine message as if nothing had been.
func TestNoChangedHandshakeMessageIsTaken(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	i := mustInitiate(t, from, to)
	init := i.Message()

	attack(t, "HandshakeInit", init, func(at int, b []byte) error {
		if at >= len(init)-16 && len(b) == len(init) {
			return errors.New("MAC2 is the CookieGuard's to check, see TestCookie")
		}
		r, response, err := NewResponder(to, responderIndex, b)
		if err == nil || r != nil || response != nil {
			t.Errorf("NewResponder: %v, %x", r, response)
		}
		return err
	})
	r, response := mustRespond(t, to, init)
	attack(t, "HandshakeResponse", response, func(_ int, b []byte) error {
		kem, err := i.Response(b)
		if kem != nil {
			t.Errorf("Response gives %x", kem)
		}
		return err
	})
	kem, err := i.Response(response)
	if err != nil {
		t.Fatalf("the genuine response after the changed ones: %v", err)
	}
	attack(t, "KEM key", kem, func(_ int, b []byte) error {
		s, reply, err := r.Complete(b)
		if s != nil || reply != nil {
			t.Errorf("Complete gives a session")
		}
		return err
	})
	theirs, reply, err := r.Complete(kem)
	if err != nil {
		t.Fatalf("the genuine KEM key after the changed ones: %v", err)
	}
	attack(t, "KEM ciphertext", reply, func(_ int, b []byte) error {
		s, err := i.Complete(b)
		if s != nil {
			t.Errorf("Complete gives a session")
		}
		return err
	})
	ours, err := i.Complete(reply)
	if err != nil {
		t.Fatalf("the genuine KEM ciphertext after the changed ones: %v", err)
	}
	mustPass(t, ours, theirs, "unharmed")
	mustPass(t, theirs, ours, "unharmed")
}

// attack tries every flip and truncation of genuine; take must fail.
func attack(t *testing.T, name string, genuine []byte, take func(at int, b []byte) error) {
	t.Helper()
	flips(bytes.Clone(genuine), func(at int, b []byte) {
		if take(at, b) == nil {
			t.Fatalf("%s: byte %d changed, and taken", name, at)
		}
	})
	for n := range genuine {
		if take(n, genuine[:n]) == nil {
			t.Fatalf("%s: cut to %d bytes, and taken", name, n)
		}
	}
	if take(len(genuine), append(bytes.Clone(genuine), 0)) == nil {
		t.Fatalf("%s: a byte longer, and taken", name)
	}
}

// TestEveryByteIsAuthenticated repairs MAC1 after the change, as anybody who knows the receiver's public key can.
func TestEveryByteIsAuthenticated(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	i := mustInitiate(t, from, to)
	init := i.Message()
	_, response := mustRespond(t, to, init)
	flips(bytes.Clone(init[:len(init)-32]), func(at int, b []byte) {
		b = append(bytes.Clone(b), make([]byte, 32)...)
		setMAC1(b, to.Key.Public().Static)
		if _, _, err := NewResponder(to, responderIndex, b); err == nil || errors.Is(err, ErrMAC) {
			t.Errorf("HandshakeInit: byte %d changed: %v", at, err)
		}
	})
	flips(bytes.Clone(response[:len(response)-16]), func(at int, b []byte) {
		b = append(bytes.Clone(b), make([]byte, 16)...)
		setMAC1(b, from.Key.Public().Static)
		if _, err := i.Response(b); err == nil || errors.Is(err, ErrMAC) && at > 0 {
			t.Errorf("HandshakeResponse: byte %d changed: %v", at, err)
		}
	})
	if _, err := i.Response(response); err != nil {
		t.Errorf("the genuine response afterwards: %v", err)
	}
}

func TestStepsOutOfOrderAreRefused(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	i := mustInitiate(t, from, to)
	r, response := mustRespond(t, to, i.Message())
	_, second := mustRespond(t, to, i.Message())
	if _, err := i.Complete(response); !errors.Is(err, ErrState) {
		t.Errorf("Complete before Response: %v", err)
	}
	kem, err := i.Response(response)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Response(second); !errors.Is(err, ErrState) {
		t.Errorf("another response: %v", err)
	}
	if err := i.CookieReply(wire.CookieReply{ReceiverIndex: initiatorIndex}.Append(nil)); !errors.Is(err, ErrState) {
		t.Errorf("CookieReply after Response: %v", err)
	}
	if _, err := i.Complete(kem); err == nil {
		t.Error("the initiator takes its own KEM key")
	}
	_, reply, err := r.Complete(kem)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Complete(reply); err == nil {
		t.Error("the responder takes its own reply")
	}
	if _, err := i.Complete(reply); err != nil {
		t.Error(err)
	}
}

func TestErasedHandshakesTakeNothing(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	i := mustInitiate(t, from, to)
	r, response := mustRespond(t, to, i.Message())
	kem, err := i.Response(response)
	if err != nil {
		t.Fatal(err)
	}
	i.Erase()
	r.Erase()
	// An erased state must not fall back to keys that everybody knows.
	forged, err := sealHandshakeData([32]byte{}, responderIndex, new(wire.KEMKey))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{kem, forged} {
		if _, _, err := r.Complete(b); !errors.Is(err, ErrErased) {
			t.Errorf("responder: %v", err)
		}
	}
	forged, err = sealHandshakeData([32]byte{}, initiatorIndex, new(wire.KEMCiphertext))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Complete(forged); !errors.Is(err, ErrErased) {
		t.Errorf("initiator's Complete: %v", err)
	}
	if _, err := i.Response(response); !errors.Is(err, ErrErased) {
		t.Errorf("initiator's Response: %v", err)
	}
	if i.keys != (transportKeys{}) || r.keys != (transportKeys{}) || i.kem != nil || i.noise.ephemeral != nil {
		t.Error("keys are left")
	}
}

func TestKeysOfTheHandshakeAreZeroedAtItsEnd(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	i := mustInitiate(t, from, to)
	r, response := mustRespond(t, to, i.Message())
	kem, err := i.Response(response)
	if err != nil {
		t.Fatal(err)
	}
	if i.noise.ck != [32]byte{} || i.noise.ephemeral != nil {
		t.Error("Noise state is left after Response")
	}
	_, reply, err := r.Complete(kem)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Complete(reply); err != nil {
		t.Fatal(err)
	}
	if i.keys != (transportKeys{}) || r.keys != (transportKeys{}) || i.kem != nil {
		t.Error("transport keys are left after Complete")
	}
}

func TestReplayedInitCannotComplete(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	i := mustInitiate(t, from, to)
	r, response := mustRespond(t, to, i.Message())
	kem, err := i.Response(response)
	if err != nil {
		t.Fatal(err)
	}
	replayed, _ := mustRespond(t, to, i.Message())
	if _, _, err := replayed.Complete(kem); !errors.Is(err, ErrAuth) {
		t.Errorf("the replay completes with a recorded datagram: %v", err)
	}
	if _, _, err := r.Complete(kem); err != nil {
		t.Errorf("the genuine one does not complete beside the replay: %v", err)
	}
}

func TestSimultaneousHandshakes(t *testing.T) {
	a := newAuthority(t)
	left, right := a.node(t, "left"), a.node(t, "right")
	if Wins(left.Key.NodeID(), right.Key.NodeID()) == Wins(right.Key.NodeID(), left.Key.NodeID()) {
		t.Fatal("both or neither would win")
	}
	if Wins(left.Key.NodeID(), left.Key.NodeID()) {
		t.Error("a node wins over itself")
	}
	// Both begin; each also answers the other. The two handshakes do not disturb each other.
	fromLeft := mustInitiate(t, left, right)
	fromRight, err := NewInitiator(right, left.Key.Public(), 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	atRight, toLeft := mustRespond(t, right, fromLeft.Message())
	atLeft, toRight, err := NewResponder(left, 4, fromRight.Message())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fromLeft.Response(toRight); !errors.Is(err, ErrIndex) {
		t.Errorf("the other handshake's response: %v", err)
	}
	var sessions []*Session
	for _, h := range []struct {
		i        *Initiator
		r        *Responder
		response []byte
	}{{fromLeft, atRight, toLeft}, {fromRight, atLeft, toRight}} {
		kem, err := h.i.Response(h.response)
		if err != nil {
			t.Fatal(err)
		}
		theirs, reply, err := h.r.Complete(kem)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := h.i.Complete(reply)
		if err != nil {
			t.Fatal(err)
		}
		mustPass(t, ours, theirs, "own keys")
		sessions = append(sessions, ours)
	}
	if _, err := sessions[1].Open(nil, sessions[0].Seal(nil, 0, 9, nil)); err == nil {
		t.Error("one handshake's datagram opens in the other's session")
	}
}

func TestCipherIsTheRespondersChoiceOfTheOffer(t *testing.T) {
	const aes, chacha = CipherAES256GCM, CipherChaCha20Poly1305
	for _, row := range []struct {
		name            string
		offers, prefers []Cipher
		want            Cipher
		err             error
	}{
		{"both have AES", []Cipher{aes, chacha}, []Cipher{aes, chacha}, aes, nil},
		{"initiator without AES", []Cipher{chacha}, []Cipher{aes, chacha}, chacha, nil},
		{"responder without AES", []Cipher{aes, chacha}, []Cipher{chacha}, chacha, nil},
		{"responder prefers ChaCha", []Cipher{aes, chacha}, []Cipher{chacha, aes}, chacha, nil},
		{"nothing in common", []Cipher{aes}, []Cipher{chacha}, 0, ErrCipher},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := newAuthority(t)
			from, to := a.node(t, "viewer"), a.node(t, "cam1")
			from.Ciphers, to.Ciphers = row.offers, row.prefers
			i := mustInitiate(t, from, to)
			if row.err != nil {
				if _, _, err := NewResponder(to, responderIndex, i.Message()); !errors.Is(err, row.err) {
					t.Errorf("got %v, want %v", err, row.err)
				}
				return
			}
			ours, theirs := mustConnect(t, from, to)
			if ours.Cipher() != row.want || theirs.Cipher() != row.want {
				t.Errorf("got %s and %s, want %s", ours.Cipher(), theirs.Cipher(), row.want)
			}
			mustPass(t, ours, theirs, row.name)
			mustPass(t, theirs, ours, row.name)
		})
	}
	if d := DefaultCiphers(); !slices.Contains(d, chacha) {
		t.Errorf("ChaCha20-Poly1305 is not among %v", d)
	}
}

func TestCipherThatWasNotOfferedIsRefused(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	from.Ciphers = []Cipher{CipherChaCha20Poly1305}
	i := mustInitiate(t, from, to)
	payload := wire.ResponsePayload{Cipher: uint8(CipherAES256GCM), Certificate: to.Certificate}.Append(nil)
	if _, _, err := i.checkResponse(payload); !errors.Is(err, ErrCipher) {
		t.Errorf("got %v", err)
	}
}

func TestHandshakeAnswersAreNotLargerThanTheirRequests(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "v"), a.node(t, "a-camera-with-a-very-long-name-of-many-letters")
	i := mustInitiate(t, from, to)
	r, response := mustRespond(t, to, i.Message())
	kem, err := i.Response(response)
	if err != nil {
		t.Fatal(err)
	}
	_, reply, err := r.Complete(kem)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("HandshakeInit %d, HandshakeResponse %d, KEM key %d, KEM ciphertext %d bytes",
		len(i.Message()), len(response), len(kem), len(reply))
	if len(response) > len(i.Message()) || len(reply) > len(kem) {
		t.Error("an answer is larger than its request")
	}
	for _, b := range [][]byte{i.Message(), response, kem, reply} {
		if len(b) > wire.MaxDatagram {
			t.Errorf("a datagram has %d bytes", len(b))
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	a := newAuthority(t)
	good, to := a.node(t, "viewer"), a.node(t, "cam1")
	init := mustInitiate(t, good, to).Message()
	for _, row := range []struct {
		name   string
		change func(*Config)
	}{
		{"no key", func(c *Config) { c.Key = nil }},
		{"no verifier", func(c *Config) { c.Verify = nil }},
		{"no randomness", func(c *Config) { c.Rand = nil }},
		{"no certificate", func(c *Config) { c.Certificate = nil }},
		{"certificate too long", func(c *Config) { c.Certificate = make([]byte, wire.MaxCertificate+1) }},
		{"unknown cipher", func(c *Config) { c.Ciphers = []Cipher{3} }},
		{"too many ciphers", func(c *Config) { c.Ciphers = slices.Repeat([]Cipher{1}, wire.MaxCiphers+1) }},
		{"randomness that fails", func(c *Config) { c.Rand = iotest.ErrReader(io.ErrNoProgress) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := good
			row.change(&c)
			if _, err := NewInitiator(c, to.Key.Public(), 1, 1); err == nil {
				t.Error("NewInitiator takes it")
			}
			c = to
			row.change(&c)
			if _, _, err := NewResponder(c, 1, init); err == nil {
				t.Error("NewResponder takes it")
			}
		})
	}
	if _, err := NewInitiator(good, identity.DevicePublic{}, 1, 1); err == nil {
		t.Error("a static key of low order is taken")
	}
}
