package tunnel

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// TestSessionKeysAreThoseOfTheSchedule computes the schedule of the package comment with HMAC alone.
func TestSessionKeysAreThoseOfTheSchedule(t *testing.T) {
	keys := transportKeys{h: [32]byte{1}, ck: [32]byte{2}}
	secret, first, second := []byte("kem secret"), []byte("first datagram"), []byte("second datagram")
	initiator, responder, err := keys.sessionAEADs(CipherChaCha20Poly1305, secret, first, second)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(bytes.Join(parts, nil))
		return h.Sum(nil)
	}
	transcript := sha256.Sum256(bytes.Join([][]byte{keys.h[:], first, second}, nil))
	prk := mac(transcript[:], keys.ck[:], secret)
	one := mac(prk, []byte(sessionLabel), []byte{1})
	two := mac(prk, one, []byte(sessionLabel), []byte{2})
	nonce := make([]byte, chacha20poly1305.NonceSize)
	for i, want := range [][]byte{one, two} {
		aead, err := chacha20poly1305.New(want)
		if err != nil {
			t.Fatal(err)
		}
		got := []interface {
			Seal(dst, nonce, plaintext, additional []byte) []byte
		}{initiator, responder}[i]
		if !bytes.Equal(got.Seal(nil, nonce, []byte("x"), nil), aead.Seal(nil, nonce, []byte("x"), nil)) {
			t.Errorf("key %d differs", i)
		}
	}
}

func TestSessionKeysDependOnEveryInput(t *testing.T) {
	type input struct {
		h, ck         byte
		secret        string
		first, second string
	}
	base := input{1, 2, "kem secret", "first", "second"}
	seal := func(in input) [2]string {
		keys := transportKeys{h: [32]byte{in.h}, ck: [32]byte{in.ck}}
		initiator, responder, err := keys.sessionAEADs(CipherAES256GCM, []byte(in.secret), []byte(in.first), []byte(in.second))
		if err != nil {
			t.Fatal(err)
		}
		nonce := make([]byte, 12)
		return [2]string{string(initiator.Seal(nil, nonce, []byte("x"), nil)), string(responder.Seal(nil, nonce, []byte("x"), nil))}
	}
	want := seal(base)
	if want[0] == want[1] {
		t.Error("both directions have the same key")
	}
	for _, row := range []struct {
		name   string
		change func(*input)
	}{
		{"handshake hash", func(in *input) { in.h++ }},
		{"chaining key (X25519)", func(in *input) { in.ck++ }},
		{"ML-KEM secret", func(in *input) { in.secret = "another" }},
		{"first datagram", func(in *input) { in.first = "another" }},
		{"second datagram", func(in *input) { in.second = "another" }},
	} {
		in := base
		row.change(&in)
		if got := seal(in); got[0] == want[0] || got[1] == want[1] {
			t.Errorf("%s: not in the keys", row.name)
		}
	}
}

// TestSessionKeysAreNotThoseOfNoise: who knew Noise's transport keys, and so the X25519 part, could not open data.
func TestSessionKeysAreNotThoseOfNoise(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	from.Ciphers, to.Ciphers = []Cipher{CipherChaCha20Poly1305}, []Cipher{CipherChaCha20Poly1305}
	i := mustInitiate(t, from, to)
	r, response := mustRespond(t, to, i.Message())
	kem, err := i.Response(response)
	if err != nil {
		t.Fatal(err)
	}
	noiseKeys := r.keys
	theirs, _, err := r.Complete(kem)
	if err != nil {
		t.Fatal(err)
	}
	b := theirs.Seal(nil, 0, 0, []byte("data"))
	for _, key := range [][32]byte{noiseKeys.initiator, noiseKeys.responder, noiseKeys.ck} {
		aead, err := chacha20poly1305.New(key[:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := aead.Open(nil, b[4:16], b[16:], b[:16]); err == nil {
			t.Error("a key of Noise opens data")
		}
	}
}

func TestHandshakeDataNamesTheReason(t *testing.T) {
	key := [32]byte{1}
	good, err := sealHandshakeData(key, 7, new(wire.KEMKey))
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for _, row := range []struct {
		name string
		in   []byte
		want error
	}{
		{"good", good, nil},
		{"of another handshake", change(7, 8), ErrIndex},
		{"of a session", change(1, wire.Version<<4|wire.FlagControl), ErrState},
		{"with a counter", change(15, 1), ErrState},
		{"changed", change(100, 1), ErrAuth},
		{"short", good[:20], wire.ErrShort},
	} {
		if _, err := openHandshakeData(key, 7, row.in); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}
