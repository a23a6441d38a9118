package identity

import (
	"crypto/ed25519"
	"testing"
)

func TestSigningKeysOfSmallOrderVerifyNothing(t *testing.T) {
	forgeable := 0
	for _, y := range smallOrders {
		for _, sign := range []byte{0, 0x80} {
			key := DevicePublic{Signing: y}
			key.Signing[31] |= sign
			for n := range 64 {
				message := []byte{byte(n)}
				for _, r := range smallOrders { // a signature that nobody's private key has made: S = 0
					signature := make([]byte, ed25519.SignatureSize)
					copy(signature, r[:])
					if ed25519.Verify(key.Signing[:], message, signature) {
						forgeable++
					}
					if key.Verify(message, signature) {
						t.Fatalf("key %x accepts a forged signature", key.Signing)
					}
				}
			}
		}
	}
	if forgeable == 0 {
		t.Fatal("no key of the list can be forged: the test shows nothing")
	}
	device, err := NewDeviceKey(&counter{})
	if err != nil {
		t.Fatal(err)
	}
	if !device.Public().Verify([]byte("m"), device.Sign([]byte("m"))) {
		t.Error("a good key does not verify any more")
	}
}

// counter is a source of bytes for a key that stays the same.
type counter struct{ n byte }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = c.n
	}
	return len(b), nil
}
