package identity

import (
	"bytes"
	"encoding/pem"
	"fmt"
)

// The PEM types of this package.
const (
	pemDeviceKey         = "CYPHONIC DEVICE KEY"
	pemRootKey           = "CYPHONIC ROOT KEY"
	pemIssuerKey         = "CYPHONIC ISSUER KEY"
	pemIssuerCertificate = "CYPHONIC ISSUER CERTIFICATE"
)

func encodePEM(kind string, b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}

// decodePEM returns the bytes of the only block in b, which must be of the kind wanted.
func decodePEM(kind string, b []byte) ([]byte, error) {
	if len(b) > maxPEM {
		return nil, fmt.Errorf("%w: PEM file has more than %d bytes", ErrMalformed, maxPEM)
	}
	block, rest := pem.Decode(b)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%w: no PEM block, want %q", ErrMalformed, kind)
	case block.Type != kind:
		return nil, fmt.Errorf("%w: PEM block is %q, want %q", ErrMalformed, block.Type, kind)
	case len(block.Headers) != 0 || len(bytes.TrimSpace(rest)) != 0:
		return nil, fmt.Errorf("%w: PEM file has more than one %q block", ErrMalformed, kind)
	}
	return block.Bytes, nil
}
