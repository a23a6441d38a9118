// Package astest is an authentication service for tests: real TLS, real proofs and real certificates, while the test
// decides who may log in. Only tests import this package.
package astest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Server is the service. Decide is called for each request whose proofs are good.
type Server struct {
	Address string // host:port
	Trust   identity.Trust
	TLS     tls.Certificate // for 127.0.0.1; other servers of the test may use it
	issuer  *identity.Issuer

	mu       sync.Mutex
	decide   func(wire.LoginRequest) wire.LoginResponse
	requests []wire.LoginRequest
}

// Device is what a grant says about a device.
type Device struct {
	FQDN       string
	IPv4, IPv6 netip.Addr
	Assurance  identity.Assurance
}

// Prefixes, domain and NMS address of all grants.
var (
	IPv4Prefix = netip.MustParsePrefix("10.77.0.0/16")
	IPv6Prefix = netip.MustParsePrefix("fd77::/64")
	NMS        = netip.MustParseAddrPort("127.0.0.1:7442") // nobody answers there unless the test does
)

// Domain of all grants.
const Domain = "lab.example"

// Start runs the service on a free port of loopback until the test ends.
func Start(t testing.TB, decide func(wire.LoginRequest) wire.LoginResponse) *Server {
	t.Helper()
	now := time.Now()
	root, err := identity.NewRootKey(rand.Reader)
	must(t, err)
	key, err := identity.NewIssuerKey(rand.Reader)
	must(t, err)
	issuer, err := identity.NewIssuer(key, root.IssueIssuer(key.Public().(ed25519.PublicKey), now.Add(-time.Hour), now.Add(48*time.Hour)))
	must(t, err)
	certificate, ca := serverCertificate(t)
	s := &Server{Trust: identity.Trust{Roots: []ed25519.PublicKey{root.Public()}, TLSCA: ca}, TLS: certificate, issuer: issuer, decide: decide}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", login.ServerTLS(certificate))
	must(t, err)
	s.Address = listener.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
	return s
}

// Decide replaces the decision.
func (s *Server) Decide(decide func(wire.LoginRequest) wire.LoginResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decide = decide
}

// Requests returns what was asked so far.
func (s *Server) Requests() []wire.LoginRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]wire.LoginRequest{}, s.requests...)
}

// Grant answers a request with a good certificate for the device.
func (s *Server) Grant(r wire.LoginRequest, d Device) wire.LoginResponse {
	now := time.Now()
	if d.Assurance == 0 {
		d.Assurance = identity.AssuranceKey
	}
	c, err := s.issuer.Issue(identity.Certificate{
		Public: identity.DevicePublic{Static: r.Static, Signing: r.Signing}, FQDN: d.FQDN, VirtualIPv4: d.IPv4, VirtualIPv6: d.IPv6,
		Network: "lab", Assurance: d.Assurance, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		return Refuse(wire.LoginInvalid, err.Error())
	}
	return wire.LoginResponse{
		Certificate: c.Raw(), Issuers: [][]byte{s.issuer.Certificate().Raw()}, Ticket: []byte("ticket"), SessionKey: [32]byte{1},
		NotAfter: now.Add(time.Hour).Unix(), ServerTime: now.Unix(), NMSIPv4: NMS, FQDN: d.FQDN, Domain: Domain, Network: "lab",
		VirtualIPv4: d.IPv4, VirtualIPv6: d.IPv6, IPv4Prefix: IPv4Prefix, IPv6Prefix: IPv6Prefix,
	}
}

// Refuse answers a request with an error.
func Refuse(code wire.LoginCode, message string) wire.LoginResponse {
	return wire.LoginResponse{Code: code, Message: message, ServerTime: time.Now().Unix()}
}

func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	secure := conn.(*tls.Conn)
	if secure.Handshake() != nil {
		return
	}
	exporter, err := login.Exporter(secure.ConnectionState())
	if err != nil {
		return
	}
	for {
		frame, err := login.ReadFrame(conn)
		if err != nil {
			return
		}
		r, err := wire.ParseLoginRequest(frame)
		if err != nil || login.VerifyProofs(r, exporter) != nil {
			return
		}
		s.mu.Lock()
		s.requests = append(s.requests, r)
		decide := s.decide
		s.mu.Unlock()
		response := decide(r)
		if login.WriteFrame(conn, response.Append(nil)) != nil {
			return
		}
	}
}

func serverCertificate(t testing.TB) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
