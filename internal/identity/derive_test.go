package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"testing"
)

func TestDerivedSecretsDependOnKeyAndPurposeAndShowNeither(t *testing.T) {
	fixed, err := NewDeviceKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)))
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewDeviceKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[32]byte]string{}
	for name, derive := range map[string]func() ([32]byte, error){
		"one purpose":     func() ([32]byte, error) { return fixed.Derive("one") },
		"another purpose": func() ([32]byte, error) { return fixed.Derive("two") },
		"another key":     func() ([32]byte, error) { return other.Derive("one") },
	} {
		secret, err := derive()
		if err != nil {
			t.Fatal(err)
		}
		if same, ok := seen[secret]; ok {
			t.Errorf("%s gives the secret of %s", name, same)
		}
		seen[secret] = name
		if bytes.Contains(fixed.EncodePEM(), secret[:8]) {
			t.Errorf("%s shows a part of the key", name)
		}
	}
	again, err := fixed.Derive("one")
	if err != nil || seen[again] != "one purpose" {
		t.Errorf("the same purpose gives another secret, %v", err)
	}
	// What is on disk must stay readable by later versions.
	if got := hex.EncodeToString(again[:]); got != "951571207a52b6120709262824e150c58245d51b37233636dc88aec0a643524d" {
		t.Errorf("the secret is %s now", got)
	}
	if _, err := fixed.Derive(""); err == nil {
		t.Error("a secret without a purpose")
	}
}
