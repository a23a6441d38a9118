package identity

import (
	"crypto/ed25519"
	"fmt"
	"time"
)

// Verifier checks node certificates against issuers that a root has certified. It is safe for concurrent use.
type Verifier struct {
	issuers map[IssuerID]IssuerCertificate
}

// NewVerifier takes those of the issuer certificates (as the AS sends them) that a root of t has signed and
// that have not ended at now. It fails with ErrIssuer if none is left, because then nothing could verify.
func NewVerifier(t Trust, issuers [][]byte, now time.Time) (*Verifier, error) {
	v := &Verifier{issuers: make(map[IssuerID]IssuerCertificate, len(issuers))}
	var last error
	for _, raw := range issuers {
		c, err := verifyIssuer(t, raw, now)
		if err != nil {
			last = err
			continue
		}
		v.issuers[c.ID()] = c
	}
	if len(v.issuers) == 0 {
		if last == nil {
			return nil, fmt.Errorf("%w: no issuer certificate given", ErrIssuer)
		}
		return nil, fmt.Errorf("%w: none of %d issuer certificates is usable: %w", ErrIssuer, len(issuers), last)
	}
	return v, nil
}

func verifyIssuer(t Trust, raw []byte, now time.Time) (IssuerCertificate, error) {
	c, err := ParseIssuerCertificate(raw)
	if err != nil {
		return IssuerCertificate{}, err
	}
	if now.After(c.NotAfter) {
		return IssuerCertificate{}, fmt.Errorf("issuer certificate %s: %w", c.ID(), ErrExpired)
	}
	message := signedPart(issuerLabel, raw)
	for _, root := range t.Roots {
		if len(root) == ed25519.PublicKeySize && ed25519.Verify(root, message, c.Signature[:]) {
			return c, nil
		}
	}
	return IssuerCertificate{}, fmt.Errorf("issuer certificate %s: %w", c.ID(), ErrSignature)
}

// Verify decodes raw and checks issuer, signature and, last, times. It fails with ErrMalformed, ErrIssuer,
// ErrSignature, ErrNotYetValid or ErrExpired.
func (v *Verifier) Verify(raw []byte, now time.Time) (*Certificate, error) {
	c, err := ParseCertificate(raw)
	if err != nil {
		return nil, err
	}
	issuer, ok := v.issuers[c.Issuer]
	if !ok {
		return nil, fmt.Errorf("certificate of %s: issuer %s: %w", c.FQDN, c.Issuer, ErrIssuer)
	}
	if !ed25519.Verify(issuer.Public[:], signedPart(certificateLabel, raw), c.Signature[:]) {
		return nil, fmt.Errorf("certificate of %s: %w", c.FQDN, ErrSignature)
	}
	switch {
	case c.NotAfter.Sub(c.NotBefore) > MaxCertificateLife:
		return nil, fmt.Errorf("certificate of %s lives for longer than %s: %w", c.FQDN, MaxCertificateLife, ErrMalformed)
	case now.Before(c.NotBefore) || now.Before(issuer.NotBefore):
		return nil, fmt.Errorf("certificate of %s: %w", c.FQDN, ErrNotYetValid)
	case now.After(c.NotAfter) || now.After(issuer.NotAfter):
		return nil, fmt.Errorf("certificate of %s: %w", c.FQDN, ErrExpired)
	}
	return c, nil
}
