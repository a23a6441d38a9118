package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// IssuerID names an issuing key: the first 8 bytes of SHA-256 over its public half.
type IssuerID [8]byte

// String returns 16 lower-case hexadecimal digits.
func (id IssuerID) String() string { return hex.EncodeToString(id[:]) }

func issuerID(public ed25519.PublicKey) IssuerID {
	sum := sha256.Sum256(public)
	return IssuerID(sum[:8])
}

const (
	issuerVersion   = 1
	issuerLabel     = "cyphonic issuer certificate v1\x00"
	issuerSize      = 1 + 32 + 8 + 8 + ed25519.SignatureSize
	issuerKeyLength = 1 + ed25519.SeedSize
	rootKeyVersion  = 1
	issuerKeyFormat = 1
)

// IssuerCertificate lets an issuing key sign node certificates. Its encoded form has 113 bytes:
//
//	 0  version 1
//	 1  issuing key 32              Ed25519
//	33  not before u64              seconds since 1970-01-01 UTC
//	41  not after u64
//	49  signature 64                Ed25519 of a root over a label and all before
type IssuerCertificate struct {
	Public              [32]byte
	NotBefore, NotAfter time.Time
	Signature           [ed25519.SignatureSize]byte
}

// ParseIssuerCertificate decodes b without verifying anything but its form. It fails with ErrMalformed.
func ParseIssuerCertificate(b []byte) (IssuerCertificate, error) {
	var c IssuerCertificate
	r := newReader(b)
	r.version(issuerVersion)
	r.copyTo(c.Public[:])
	c.NotBefore, c.NotAfter = r.time(), r.time()
	r.copyTo(c.Signature[:])
	r.check(c.NotBefore.Before(c.NotAfter))
	if !r.done() {
		return IssuerCertificate{}, fmt.Errorf("%w: issuer certificate", ErrMalformed)
	}
	return c, nil
}

// ParseIssuerCertificatePEM reads what EncodePEM writes.
func ParseIssuerCertificatePEM(pem []byte) (IssuerCertificate, error) {
	b, err := decodePEM(pemIssuerCertificate, pem)
	if err != nil {
		return IssuerCertificate{}, err
	}
	return ParseIssuerCertificate(b)
}

// ID returns the issuing key's id.
func (c IssuerCertificate) ID() IssuerID { return issuerID(c.Public[:]) }

// Raw returns the encoded form.
func (c IssuerCertificate) Raw() []byte {
	w := writer{b: make([]byte, 0, issuerSize)}
	w.u8(issuerVersion)
	w.bytes(c.Public[:])
	w.time(c.NotBefore)
	w.time(c.NotAfter)
	w.bytes(c.Signature[:])
	return w.b
}

// EncodePEM returns the encoded form as PEM.
func (c IssuerCertificate) EncodePEM() []byte { return encodePEM(pemIssuerCertificate, c.Raw()) }

// RootKey signs issuers. It is kept offline; its public half is in every trust file.
type RootKey struct{ key ed25519.PrivateKey }

// NewRootKey makes a key from 32 bytes of rand.
func NewRootKey(rand io.Reader) (*RootKey, error) {
	key, err := NewIssuerKey(rand)
	if err != nil {
		return nil, err
	}
	return &RootKey{key: key}, nil
}

// ParseRootKey reads what EncodePEM writes: version 1, Ed25519 seed 32.
func ParseRootKey(pem []byte) (*RootKey, error) {
	b, err := decodePEM(pemRootKey, pem)
	if err != nil {
		return nil, err
	}
	if len(b) != issuerKeyLength || b[0] != rootKeyVersion {
		return nil, fmt.Errorf("%w: root key", ErrMalformed)
	}
	return &RootKey{key: ed25519.NewKeyFromSeed(b[1:])}, nil
}

// EncodePEM returns the private key for an offline place.
func (r *RootKey) EncodePEM() []byte {
	return encodePEM(pemRootKey, append([]byte{rootKeyVersion}, r.key.Seed()...))
}

// Public returns the public half.
func (r *RootKey) Public() ed25519.PublicKey { return r.key.Public().(ed25519.PublicKey) }

// IssueIssuer certifies an issuing key; times are cut to whole seconds.
func (r *RootKey) IssueIssuer(public ed25519.PublicKey, notBefore, notAfter time.Time) IssuerCertificate {
	c := IssuerCertificate{NotBefore: seconds(notBefore), NotAfter: seconds(notAfter)}
	copy(c.Public[:], public)
	copy(c.Signature[:], ed25519.Sign(r.key, signedPart(issuerLabel, c.Raw())))
	return c
}

func seconds(t time.Time) time.Time { return time.Unix(t.Unix(), 0).UTC() }

// NewIssuerKey makes an issuing key from 32 bytes of rand.
func NewIssuerKey(rand io.Reader) (ed25519.PrivateKey, error) {
	var seed [ed25519.SeedSize]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, fmt.Errorf("identity: read randomness for a signing key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed[:]), nil
}

// EncodeIssuerKey returns an issuing key as PEM: version 1, Ed25519 seed 32.
func EncodeIssuerKey(key ed25519.PrivateKey) []byte {
	return encodePEM(pemIssuerKey, append([]byte{issuerKeyFormat}, key.Seed()...))
}

// ParseIssuerKey reads what EncodeIssuerKey writes.
func ParseIssuerKey(pem []byte) (ed25519.PrivateKey, error) {
	b, err := decodePEM(pemIssuerKey, pem)
	if err != nil {
		return nil, err
	}
	if len(b) != issuerKeyLength || b[0] != issuerKeyFormat {
		return nil, fmt.Errorf("%w: issuer key", ErrMalformed)
	}
	return ed25519.NewKeyFromSeed(b[1:]), nil
}

// Issuer signs node certificates. It is safe for concurrent use.
type Issuer struct {
	key         ed25519.PrivateKey
	certificate IssuerCertificate
	id          IssuerID
}

// NewIssuer pairs an issuing key with its certificate; it fails with ErrIssuer if they do not fit.
func NewIssuer(key ed25519.PrivateKey, certificate IssuerCertificate) (*Issuer, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: issuer key", ErrMalformed)
	}
	if !bytes.Equal(key.Public().(ed25519.PublicKey), certificate.Public[:]) {
		return nil, fmt.Errorf("%w: the issuer certificate is for another key", ErrIssuer)
	}
	return &Issuer{key: key, certificate: certificate, id: certificate.ID()}, nil
}

// Certificate returns the issuer's own certificate.
func (i *Issuer) Certificate() IssuerCertificate { return i.certificate }

// Issue signs template. Its Issuer, Signature and encoded form are set by Issue, its times are cut to whole
// seconds. The times must lie within the issuer's own and within MaxCertificateLife of each other.
func (i *Issuer) Issue(template Certificate) (*Certificate, error) {
	c := template
	c.Issuer = i.id
	c.NotBefore, c.NotAfter = seconds(c.NotBefore), seconds(c.NotAfter)
	switch {
	case !c.NotBefore.Before(c.NotAfter) || c.NotAfter.Sub(c.NotBefore) > MaxCertificateLife:
		return nil, fmt.Errorf("%w: certificate life %s is not within (0, %s]",
			ErrMalformed, c.NotAfter.Sub(c.NotBefore), MaxCertificateLife)
	case c.NotBefore.Before(i.certificate.NotBefore) || c.NotAfter.After(i.certificate.NotAfter):
		return nil, fmt.Errorf("%w: certificate would outlive or precede its issuer: renew the issuer certificate", ErrExpired)
	}
	body, err := c.encode()
	if err != nil {
		return nil, err
	}
	signature := ed25519.Sign(i.key, append([]byte(certificateLabel), body...))
	// Parsing the result applies the form's rules to the template, so nothing is issued that nobody accepts.
	issued, err := ParseCertificate(append(body, signature...))
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %q: %w", template.FQDN, err)
	}
	return issued, nil
}
