package ctl

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"regexp"
	"time"
)

// authority is a certificate authority: of the TLS certificates of the cloud, or of those of its etcd cluster.
type authority struct {
	key            *ecdsa.PrivateKey
	certificate    *x509.Certificate
	keyPEM         []byte
	certificatePEM []byte
}

func newAuthority(rand io.Reader, name string, now time.Time) (*authority, error) {
	key, keyPEM, err := newKey(rand)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial(rand)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdated),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("TLS authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("TLS authority: %w", err)
	}
	return &authority{key, certificate, keyPEM, encodePEM("CERTIFICATE", der)}, nil
}

// issue makes a key and its certificate, good for the uses, addresses and names given.
func (a *authority) issue(rand io.Reader, name string, uses []x509.ExtKeyUsage, addresses []string, now time.Time) (keyPEM, certificatePEM []byte, err error) {
	key, keyPEM, err := newKey(rand)
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial(rand)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-backdated),
		NotAfter:     now.Add(serverLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  uses,
	}
	for _, address := range addresses {
		if ip := net.ParseIP(address); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, address)
		}
	}
	der, err := x509.CreateCertificate(rand, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("TLS certificate: %w", err)
	}
	return keyPEM, encodePEM("CERTIFICATE", der), nil
}

func newKey(rand io.Reader) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, encodePEM("PRIVATE KEY", der), nil
}

// newSerial: 127 random bits, positive and at most 20 octets (RFC 5280 section 4.1.2.2).
func newSerial(rand io.Reader) (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return nil, err
	}
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:]), nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func checkAddresses(flag string, addresses []string) error {
	name := regexp.MustCompile(`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	for _, address := range addresses {
		if net.ParseIP(address) == nil && (!name.MatchString(address) || len(address) > 253) {
			return fmt.Errorf("%s %q is neither an IP address nor a DNS name in lower case (no port, no brackets)", flag, address)
		}
	}
	return nil
}
