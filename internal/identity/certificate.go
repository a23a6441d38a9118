package identity

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

const (
	certificateVersion = 1
	certificateLabel   = "cyphonic node certificate v1\x00"
)

// Certificate binds an end device's keys to its name, addresses, groups and assurance. Its encoded form:
//
//	 0  version 1
//	 1  assurance u8, 1 to 4
//	 2  issuer id 8
//	10  static key 32               X25519
//	42  signing key 32              Ed25519
//	74  not before u64              seconds since 1970-01-01 UTC
//	82  not after u64
//	90  virtual IPv4                1 and 4 bytes, or 0
//	    virtual IPv6                1 and 16 bytes, or 0
//	    FQDN                        length u8, 1 to 253
//	    network                     length u8, 1 to 253
//	    groups                      count u8, at most 8; each length u8, 1 to 32
//	    signature 64                Ed25519 of the issuer over a label and all before
//
// The whole has at most wire.MaxCertificate bytes. The NodeID is not in it: it follows from the keys.
type Certificate struct {
	Public                   DevicePublic
	FQDN                     string
	VirtualIPv4, VirtualIPv6 netip.Addr // the zero Addr where the device has none
	Network                  string
	Groups                   []string
	Assurance                Assurance
	NotBefore, NotAfter      time.Time // whole seconds
	Issuer                   IssuerID
	Signature                [ed25519.SignatureSize]byte

	raw []byte
}

// ParseCertificate decodes b without verifying anything but its form. It fails with ErrMalformed.
func ParseCertificate(b []byte) (*Certificate, error) {
	if len(b) > wire.MaxCertificate {
		return nil, fmt.Errorf("%w: certificate has more than %d bytes", ErrMalformed, wire.MaxCertificate)
	}
	c := &Certificate{raw: bytes.Clone(b)}
	r := newReader(b)
	r.version(certificateVersion)
	c.Assurance = Assurance(r.u8())
	r.check(c.Assurance.Valid())
	r.copyTo(c.Issuer[:])
	r.copyTo(c.Public.Static[:])
	r.copyTo(c.Public.Signing[:])
	c.NotBefore, c.NotAfter = r.time(), r.time()
	c.VirtualIPv4, c.VirtualIPv6 = r.addr(true), r.addr(false)
	c.FQDN, c.Network = r.string(MaxName), r.string(MaxName)
	n := int(r.u8())
	r.check(n <= MaxGroups)
	for range n {
		if !r.ok {
			break
		}
		group := r.string(MaxGroup)
		r.check(group != "")
		c.Groups = append(c.Groups, group)
	}
	r.copyTo(c.Signature[:])
	r.check(c.FQDN != "" && c.Network != "" && c.NotBefore.Before(c.NotAfter))
	if !r.done() {
		return nil, fmt.Errorf("%w: certificate", ErrMalformed)
	}
	return c, nil
}

// Raw returns the encoded form; the caller must not change it. It is empty for a template.
func (c *Certificate) Raw() []byte { return c.raw }

// NodeID returns the NodeID of the certified keys.
func (c *Certificate) NodeID() NodeID { return c.Public.NodeID() }

// String returns the FQDN and the short NodeID, for logs.
func (c *Certificate) String() string { return c.FQDN + " (" + c.NodeID().Short() + ")" }

// encode returns the signed part.
func (c *Certificate) encode() ([]byte, error) {
	w := writer{b: make([]byte, 0, wire.MaxCertificate)}
	w.u8(certificateVersion)
	w.u8(uint8(c.Assurance))
	w.bytes(c.Issuer[:])
	w.bytes(c.Public.Static[:])
	w.bytes(c.Public.Signing[:])
	w.time(c.NotBefore)
	w.time(c.NotAfter)
	w.addr("virtual IPv4", c.VirtualIPv4, true)
	w.addr("virtual IPv6", c.VirtualIPv6, false)
	w.string("FQDN", c.FQDN, MaxName)
	w.string("network", c.Network, MaxName)
	if len(c.Groups) > MaxGroups {
		return nil, fmt.Errorf("%w: %d groups, at most %d", ErrTooLong, len(c.Groups), MaxGroups)
	}
	w.u8(uint8(len(c.Groups)))
	for _, g := range c.Groups {
		w.string("group", g, MaxGroup)
	}
	if w.err == nil && len(w.b)+ed25519.SignatureSize > wire.MaxCertificate {
		w.err = fmt.Errorf("%w: certificate of %s would have %d bytes, at most %d: shorten its FQDN or groups",
			ErrTooLong, c.FQDN, len(w.b)+ed25519.SignatureSize, wire.MaxCertificate)
	}
	return w.b, w.err
}

// signedPart returns what the signature of an encoded certificate is over.
func signedPart(label string, raw []byte) []byte {
	n := len(raw) - ed25519.SignatureSize
	return append([]byte(label), raw[:n]...)
}
