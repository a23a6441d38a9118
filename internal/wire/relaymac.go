package wire

import (
	"crypto/hmac"
	"crypto/sha256"
)

// RelayMACSize is the length in bytes of the MAC that ends RelayBind, RelayBound and RelayError:
// HMAC-SHA256 (RFC 2104) with the relay token's bind key over everything before, cut to its first 16 bytes.
const RelayMACSize = 16

// SignRelay computes the MAC of an encoded RelayBind, RelayBound or RelayError in place.
// Shorter input than the MAC itself is left as it is.
func SignRelay(datagram []byte, bindKey [32]byte) {
	if n := len(datagram) - RelayMACSize; n >= 0 {
		mac := relayMAC(datagram[:n], bindKey)
		copy(datagram[n:], mac[:])
	}
}

// VerifyRelay reports in constant time whether the MAC at the end of the datagram is right.
func VerifyRelay(datagram []byte, bindKey [32]byte) bool {
	n := len(datagram) - RelayMACSize
	if n < 0 {
		return false
	}
	mac := relayMAC(datagram[:n], bindKey)
	return hmac.Equal(mac[:], datagram[n:])
}

func relayMAC(b []byte, bindKey [32]byte) (mac [RelayMACSize]byte) {
	h := hmac.New(sha256.New, bindKey[:])
	h.Write(b)
	copy(mac[:], h.Sum(nil))
	return mac
}
