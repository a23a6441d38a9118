package access

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"
)

// certificatePrincipal is the machine whose client certificate the TLS server has verified. ok is false if there is none.
func certificatePrincipal(state *tls.ConnectionState, now time.Time) (p Principal, ok bool, err error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return Principal{}, false, nil
	}
	leaf := state.PeerCertificates[0]
	switch {
	case len(state.VerifiedChains) == 0:
		return Principal{}, true, errors.New("the client certificate was not verified")
	case now.After(leaf.NotAfter) || now.Before(leaf.NotBefore): // the connection may be older than the certificate
		return Principal{}, true, errors.New("the client certificate is not valid now")
	}
	name := certificateName(leaf)
	if err := checkText(name); err != nil {
		return Principal{}, true, errors.New("the client certificate has neither a DNS name, a URI nor a common name that could be used")
	}
	return Principal{Kind: Certificate, Name: name, NotAfter: leaf.NotAfter}, true, nil
}

// certificateName is the first DNS name, else the first URI, else, in a certificate without alternative names, the common name.
func certificateName(leaf *x509.Certificate) string {
	switch {
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0]
	case len(leaf.URIs) > 0:
		return leaf.URIs[0].String()
	case len(leaf.EmailAddresses) > 0 || len(leaf.IPAddresses) > 0:
		return ""
	}
	return leaf.Subject.CommonName
}
