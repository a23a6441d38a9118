package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
)

// Trust is what every program is given to start with: the roots, and the CA of the services' TLS certificates.
type Trust struct {
	Roots []ed25519.PublicKey
	TLSCA []byte // PEM, one or more certificates
}

// trustFile is the JSON form.
type trustFile struct {
	RootKeys []string `json:"rootKeys"` // base64, 32 bytes each
	TLSCA    string   `json:"tlsCA"`
}

// ParseTrust reads a trust file. Unknown fields, no root or more than MaxRoots are errors.
func ParseTrust(b []byte) (Trust, error) {
	var file trustFile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return Trust{}, fmt.Errorf("%w: trust file: %v", ErrMalformed, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Trust{}, fmt.Errorf("%w: trust file has something behind its object", ErrMalformed)
	}
	if len(file.RootKeys) == 0 || len(file.RootKeys) > MaxRoots {
		return Trust{}, fmt.Errorf("%w: rootKeys has %d keys, want 1 to %d", ErrMalformed, len(file.RootKeys), MaxRoots)
	}
	t := Trust{TLSCA: []byte(file.TLSCA)}
	for i, s := range file.RootKeys {
		key, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return Trust{}, fmt.Errorf("%w: rootKeys[%d] is not 32 bytes in base64", ErrMalformed, i)
		}
		t.Roots = append(t.Roots, key)
	}
	if block, _ := pem.Decode(t.TLSCA); block == nil || block.Type != "CERTIFICATE" {
		return Trust{}, fmt.Errorf("%w: tlsCA is not a PEM certificate", ErrMalformed)
	}
	return t, nil
}

// EncodeTrust writes what ParseTrust reads.
func EncodeTrust(t Trust) ([]byte, error) {
	file := trustFile{TLSCA: string(t.TLSCA)}
	for _, key := range t.Roots {
		file.RootKeys = append(file.RootKeys, base64.StdEncoding.EncodeToString(key))
	}
	b, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode trust file: %w", err)
	}
	return append(b, '\n'), nil
}
