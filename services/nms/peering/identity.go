package peering

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"time"
)

// Identity is what a replica shows to the others: a key and a certificate that
// live as long as the process. Others know it by its pin alone.
type Identity struct {
	Certificate tls.Certificate
	Pin         string // hex SHA-256 of the certificate
}

// NewIdentity makes one. The certificate's dates and names mean nothing.
func NewIdentity(rand io.Reader, now time.Time) (Identity, error) {
	public, private, err := ed25519.GenerateKey(rand)
	if err != nil {
		return Identity{}, fmt.Errorf("make the key of a replica: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cyphonic replica"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(20, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand, template, template, public, private)
	if err != nil {
		return Identity{}, fmt.Errorf("make the certificate of a replica: %w", err)
	}
	return Identity{Certificate: tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: private}, Pin: pinOf(raw)}, nil
}

func pinOf(certificate []byte) string {
	sum := sha256.Sum256(certificate)
	return hex.EncodeToString(sum[:])
}

// tlsConfig shows the identity and takes from the other side whatever certificate
// accept takes, which is asked at each handshake.
func (i Identity) tlsConfig(accept func(pin string) error) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{i.Certificate},
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"cyphonic-nms-peer"},
		ClientAuth:   tls.RequireAnyClientCert,
		// The pin takes the place of names and chains: VerifyConnection is always called.
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) != 1 || state.NegotiatedProtocol != "cyphonic-nms-peer" {
				return errHello
			}
			return accept(pinOf(state.PeerCertificates[0].Raw))
		},
	}
}
