package login

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// service is an AS as far as this package is concerned: TLS, frames, proofs, and an answer of the test's choice.
type service struct {
	trust       identity.Trust
	certificate tls.Certificate
	issuer      *identity.Issuer
	address     string
}

func newService(t *testing.T, answer func(s *service, request wire.LoginRequest, exporter []byte) wire.LoginResponse) *service {
	t.Helper()
	s := &service{}
	s.newTLS(t)
	s.newIssuer(t)
	s.listen(t, ServerTLS(s.certificate), func(conn *tls.Conn) {
		exporter, err := Exporter(conn.ConnectionState())
		if err != nil {
			return
		}
		for {
			b, err := ReadFrame(conn)
			if err != nil {
				return
			}
			request, err := wire.ParseLoginRequest(b)
			if err != nil {
				return
			}
			if err := WriteFrame(conn, answer(s, request, exporter).Append(nil)); err != nil {
				return
			}
		}
	})
	return s
}

func (s *service) newTLS(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s.certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	s.trust.TLSCA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (s *service) newIssuer(t *testing.T) {
	t.Helper()
	root, err := identity.NewRootKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.NewIssuerKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s.trust.Roots = []ed25519.PublicKey{root.Public()}
	s.issuer, err = identity.NewIssuer(key, root.IssueIssuer(key.Public().(ed25519.PublicKey), now.Add(-time.Hour), now.Add(48*time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
}

func (s *service) listen(t *testing.T, config *tls.Config, serve func(*tls.Conn)) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if conn.(*tls.Conn).Handshake() == nil {
				serve(conn.(*tls.Conn))
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
}

func (s *service) dial(t *testing.T) *Client {
	t.Helper()
	c, err := Dial(t.Context(), Options{Address: s.address, Trust: s.trust})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// grant is a complete answer to request.
func (s *service) grant(request wire.LoginRequest) wire.LoginResponse {
	now := time.Now()
	m := wire.LoginResponse{
		Issuers: [][]byte{s.issuer.Certificate().Raw()}, Ticket: []byte("ticket"), SessionKey: [32]byte{1},
		NotAfter: now.Add(time.Hour).Unix(), ServerTime: now.Unix(), NMSIPv4: netip.MustParseAddrPort("192.0.2.1:7442"),
		FQDN: request.Subject.Name + ".example.internal", Domain: "example.internal", Network: "home",
		VirtualIPv4: netip.MustParseAddr("100.80.0.5"), IPv4Prefix: netip.MustParsePrefix("100.80.0.0/16"),
	}
	c, err := s.issuer.Issue(identity.Certificate{
		Public: identity.DevicePublic{Static: request.Static, Signing: request.Signing}, FQDN: m.FQDN, Network: m.Network,
		VirtualIPv4: m.VirtualIPv4, Assurance: identity.AssuranceKey, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		return wire.LoginResponse{Code: wire.LoginRetry, Message: err.Error()}
	}
	m.Certificate = c.Raw()
	return m
}

// grantIfProven answers like an AS that knows every subject.
func grantIfProven(s *service, request wire.LoginRequest, exporter []byte) wire.LoginResponse {
	if err := VerifyProofs(request, exporter); err != nil {
		return wire.LoginResponse{Code: wire.LoginInvalid, Message: err.Error()}
	}
	return s.grant(request)
}

func newKey(t *testing.T) *identity.DeviceKey {
	t.Helper()
	k, err := identity.NewDeviceKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var viewer = wire.Subject{Kind: wire.SubjectNode, Name: "viewer"}

func TestNodesLogInOnOneConnection(t *testing.T) {
	s := newService(t, grantIfProven)
	c := s.dial(t)
	for name, credential := range map[string]wire.Credential{
		"token": wire.CredentialToken{Token: "cye1.x"}, "password": wire.CredentialPassword{Password: "p"}, "key": wire.CredentialDeviceKey{},
	} {
		g, err := c.Login(t.Context(), wire.Subject{Kind: wire.SubjectNode, Name: name}, newKey(t), credential)
		if err != nil {
			t.Fatal(err)
		}
		if g.FQDN != name+".example.internal" || g.Network != "home" || string(g.Ticket) != "ticket" || !g.NMSIPv4.IsValid() || g.Received.IsZero() {
			t.Errorf("%s: grant does not have what the response had", name)
		}
	}
}

func TestGrantHasEveryFieldOfTheResponse(t *testing.T) {
	s := newService(t, grantIfProven)
	key := newKey(t)
	request := wire.LoginRequest{Subject: viewer, Static: key.Public().Static, Signing: key.Public().Signing}
	m := s.grant(request)
	m.NMSIPv6, m.IPv6Prefix = netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParsePrefix("fd00::/64")
	received := time.Now()
	got, err := newGrant(m, received, viewer, key.Public(), s.trust)
	if err != nil {
		t.Fatal(err)
	}
	want := &Grant{
		Certificate: m.Certificate, Issuers: m.Issuers, Ticket: m.Ticket, SessionKey: m.SessionKey,
		NotAfter: time.Unix(m.NotAfter, 0), ServerTime: time.Unix(m.ServerTime, 0), NMSIPv4: m.NMSIPv4, NMSIPv6: m.NMSIPv6,
		FQDN: m.FQDN, Domain: m.Domain, Network: m.Network, VirtualIPv4: m.VirtualIPv4, VirtualIPv6: m.VirtualIPv6,
		IPv4Prefix: m.IPv4Prefix, IPv6Prefix: m.IPv6Prefix, Received: received,
	}
	if !cmp.Equal(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})) {
		t.Error("grant differs")
	}
}

func TestGeneralNodeLogsInOnTheWordOfItsAdapter(t *testing.T) {
	adapterKey := newKey(t)
	s := newService(t, func(s *service, request wire.LoginRequest, exporter []byte) wire.LoginResponse {
		a, ok := request.Credential.(wire.CredentialAdapter)
		if !ok || a.Adapter != "gw1" || a.Signing != adapterKey.Public().Signing || a.Assurance != uint8(identity.AssuranceMAC) ||
			request.Subject != (wire.Subject{Kind: wire.SubjectGeneralNode, Name: "cam1"}) {
			return wire.LoginResponse{Code: wire.LoginDenied, Message: fmt.Sprint(request.Subject)}
		}
		return grantIfProven(s, request, exporter)
	})
	g, err := s.dial(t).LoginGeneralNode(t.Context(), "cam1", newKey(t), "gw1", adapterKey, identity.AssuranceMAC)
	if err != nil || g.FQDN != "cam1.example.internal" {
		t.Errorf("%v", err)
	}
}

func TestAdapterGetsTheManager(t *testing.T) {
	response := wire.LoginResponse{ManagerURL: "https://m:7440", ManagerToken: "cya1.x", ServerTime: 1}
	s := newService(t, func(*service, wire.LoginRequest, []byte) wire.LoginResponse { return response })
	adapter := wire.Subject{Kind: wire.SubjectAdapter, Name: "gw1"}
	c := s.dial(t)
	g, err := c.Login(t.Context(), adapter, newKey(t), wire.CredentialDeviceKey{})
	if err != nil || g.ManagerURL != response.ManagerURL || g.ManagerToken != response.ManagerToken {
		t.Errorf("%v", err)
	}
	response.ManagerToken = ""
	if _, err := c.Login(t.Context(), adapter, newKey(t), wire.CredentialDeviceKey{}); !errors.Is(err, ErrGrant) {
		t.Errorf("without token: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for _, row := range []struct {
		code   wire.LoginCode
		retry  bool
		denied bool
	}{{wire.LoginDenied, false, true}, {wire.LoginUnknown, false, true}, {wire.LoginInvalid, false, true}, {wire.LoginRetry, true, false}} {
		t.Run(row.code.String(), func(t *testing.T) {
			s := newService(t, func(*service, wire.LoginRequest, []byte) wire.LoginResponse {
				return wire.LoginResponse{Code: row.code, Message: "do this next"}
			})
			_, err := s.dial(t).Login(t.Context(), viewer, newKey(t), wire.CredentialDeviceKey{})
			var denied *DeniedError
			if errors.Is(err, ErrRetry) != row.retry || errors.As(err, &denied) != row.denied || !strings.Contains(err.Error(), "do this next") {
				t.Errorf("got %v", err)
			}
			if row.denied && denied.Code != row.code {
				t.Errorf("code %s", denied.Code)
			}
		})
	}
}

func TestProofsAreOfOneConnectionAndRequest(t *testing.T) {
	key, adapterKey := newKey(t), newKey(t)
	exporter := bytes.Repeat([]byte{7}, ExporterSize)
	subject := wire.Subject{Kind: wire.SubjectGeneralNode, Name: "cam1"}
	good := func() wire.LoginRequest {
		m := wire.LoginRequest{Subject: subject, Static: key.Public().Static, Signing: key.Public().Signing}
		context := Context(exporter, subject, key.Public())
		copy(m.Proof[:], key.Sign(context))
		a := wire.CredentialAdapter{Adapter: "gw1", Signing: adapterKey.Public().Signing, Assurance: 1}
		copy(a.Proof[:], adapterKey.Sign(context))
		m.Credential = a
		return m
	}
	if err := VerifyProofs(good(), exporter); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		change func(m *wire.LoginRequest, exporter []byte)
	}{
		{"another connection", func(_ *wire.LoginRequest, e []byte) { e[0] ^= 1 }},
		{"another name", func(m *wire.LoginRequest, _ []byte) { m.Subject.Name = "cam2" }},
		{"another kind", func(m *wire.LoginRequest, _ []byte) { m.Subject.Kind = wire.SubjectNode }},
		{"another static key", func(m *wire.LoginRequest, _ []byte) { m.Static[0] ^= 1 }},
		{"another signing key", func(m *wire.LoginRequest, _ []byte) { m.Signing = adapterKey.Public().Signing }},
		{"another proof", func(m *wire.LoginRequest, _ []byte) { m.Proof[5] ^= 1 }},
		{"another adapter's key", func(m *wire.LoginRequest, _ []byte) {
			a := m.Credential.(wire.CredentialAdapter)
			a.Signing = key.Public().Signing
			m.Credential = a
		}},
		{"another adapter's proof", func(m *wire.LoginRequest, _ []byte) {
			a := m.Credential.(wire.CredentialAdapter)
			a.Proof[0] ^= 1
			m.Credential = a
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, e := good(), bytes.Clone(exporter)
			row.change(&m, e)
			if err := VerifyProofs(m, e); !errors.Is(err, ErrProof) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRequestReplayedOnAnotherConnectionIsRefused(t *testing.T) {
	var recorded []wire.LoginRequest
	s := newService(t, func(s *service, request wire.LoginRequest, exporter []byte) wire.LoginResponse {
		recorded = append(recorded, request)
		if err := VerifyProofs(recorded[0], exporter); err != nil {
			return wire.LoginResponse{Code: wire.LoginInvalid, Message: "replayed"}
		}
		return s.grant(request)
	})
	key := newKey(t)
	first := s.dial(t)
	for range 2 {
		if _, err := first.Login(t.Context(), viewer, key, wire.CredentialDeviceKey{}); err != nil {
			t.Fatal(err)
		}
	}
	_ = first.Close()
	_, err := s.dial(t).Login(t.Context(), viewer, key, wire.CredentialDeviceKey{})
	var denied *DeniedError
	if !errors.As(err, &denied) || denied.Message != "replayed" {
		t.Errorf("the first connection's proof on the second: %v", err)
	}
}

func TestGrantsThatDoNotFitAreRefused(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(s *service, m *wire.LoginResponse)
	}{
		{"no certificate", func(_ *service, m *wire.LoginResponse) { m.Certificate = nil }},
		{"certificate of another key", func(s *service, m *wire.LoginResponse) {
			m.Certificate = s.grant(wire.LoginRequest{Subject: viewer}).Certificate
		}},
		{"another FQDN", func(_ *service, m *wire.LoginResponse) { m.FQDN = "other.example.internal" }},
		{"another network", func(_ *service, m *wire.LoginResponse) { m.Network = "work" }},
		{"another virtual IP", func(_ *service, m *wire.LoginResponse) { m.VirtualIPv4 = netip.MustParseAddr("100.80.0.6") }},
		{"no issuers", func(_ *service, m *wire.LoginResponse) { m.Issuers = nil }},
		{"issuers of another root", func(_ *service, m *wire.LoginResponse) {
			other := &service{}
			other.newIssuer(t)
			m.Issuers = [][]byte{other.issuer.Certificate().Raw()}
		}},
		{"certificate that has ended", func(_ *service, m *wire.LoginResponse) { m.ServerTime += 7200 }},
		{"no ticket", func(_ *service, m *wire.LoginResponse) { m.Ticket = nil }},
		{"no session key", func(_ *service, m *wire.LoginResponse) { m.SessionKey = [32]byte{} }},
		{"no NMS", func(_ *service, m *wire.LoginResponse) { m.NMSIPv4 = netip.AddrPort{} }},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newService(t, func(s *service, request wire.LoginRequest, _ []byte) wire.LoginResponse {
				m := s.grant(request)
				row.change(s, &m)
				return m
			})
			if _, err := s.dial(t).Login(t.Context(), viewer, newKey(t), wire.CredentialDeviceKey{}); !errors.Is(err, ErrGrant) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestServicesThatAreNotTheASAreRefused(t *testing.T) {
	genuine := newService(t, grantIfProven)
	for _, row := range []struct {
		name   string
		change func(c *tls.Config)
		says   string
	}{
		{"another certificate", func(c *tls.Config) { c.Certificates = []tls.Certificate{newService(t, grantIfProven).certificate} }, "copy its trust.json"},
		{"TLS 1.2", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, "version"},
		{"HTTPS with the same certificate", func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }, "protocol"},
	} {
		t.Run(row.name, func(t *testing.T) {
			config := ServerTLS(genuine.certificate)
			row.change(config)
			other := &service{trust: genuine.trust}
			other.listen(t, config, func(*tls.Conn) {})
			if c, err := Dial(t.Context(), Options{Address: other.address, Trust: genuine.trust}); err == nil {
				_ = c.Close()
				t.Error("connected")
			} else if !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %q, want %q in it", err, row.says)
			}
		})
	}
	if _, err := Dial(t.Context(), Options{Address: genuine.address, Trust: genuine.trust, ServerName: "other.example"}); err == nil || !strings.Contains(err.Error(), "init --address") {
		t.Errorf("under another name: %v", err)
	}
	late := Options{Address: genuine.address, Trust: genuine.trust, Now: func() time.Time { return time.Now().AddDate(50, 0, 0) }}
	if _, err := Dial(t.Context(), late); err == nil || !strings.Contains(err.Error(), "check the clock") {
		t.Errorf("with a wrong clock: %v", err)
	}
	if _, err := Dial(t.Context(), Options{Address: "no port", Trust: genuine.trust}); err == nil {
		t.Error("an address without port")
	}
	if _, err := Dial(t.Context(), Options{Address: genuine.address}); err == nil {
		t.Error("connected without trust")
	}
}

func TestSilentServiceEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newService(t, func(s *service, request wire.LoginRequest, _ []byte) wire.LoginResponse {
		cancel() // while the client waits for the answer
		<-ctx.Done()
		return s.grant(request)
	})
	c := s.dial(t)
	// The answer may win the race against the cancellation; a failure must name it, and end the connection.
	_, err := c.Login(ctx, viewer, newKey(t), wire.CredentialDeviceKey{})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Login(ctx, viewer, newKey(t), wire.CredentialDeviceKey{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	if _, err := c.Login(t.Context(), viewer, newKey(t), wire.CredentialDeviceKey{}); err != nil {
		t.Errorf("on a new connection: %v", err)
	}
}

func TestGrantNowFollowsTheMonotonicClock(t *testing.T) {
	received := time.Now()
	g := Grant{ServerTime: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Received: received}
	if got := g.Now(received.Add(90 * time.Second)); !got.Equal(g.ServerTime.Add(90 * time.Second)) {
		t.Error(got)
	}
}

func TestGrantIsRedacted(t *testing.T) {
	g := &Grant{ManagerToken: "do-not-print-me"}
	for _, s := range []string{fmt.Sprint(g), fmt.Sprintf("%+v", g), fmt.Sprintf("%#v", g), g.LogValue().String()} {
		if s != "[redacted]" {
			t.Error(s)
		}
	}
}

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	for _, message := range [][]byte{{1}, bytes.Repeat([]byte{2}, wire.MaxLoginMessage)} {
		if err := WriteFrame(&b, message); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadFrame(&b); err != nil || !bytes.Equal(got, message) {
			t.Errorf("%d bytes: %v", len(message), err)
		}
	}
	for _, row := range []struct {
		name string
		in   []byte
		want error
	}{
		{"end of the stream", nil, io.EOF},
		{"end in the length", []byte{0}, io.ErrUnexpectedEOF},
		{"end in the message", []byte{0, 2, 1}, io.ErrUnexpectedEOF},
		{"empty message", []byte{0, 0}, wire.ErrLength},
		{"message too long", []byte{0x20, 1}, wire.ErrLength},
	} {
		if _, err := ReadFrame(bytes.NewReader(row.in)); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
	for _, message := range [][]byte{nil, make([]byte, wire.MaxLoginMessage+1)} {
		if err := WriteFrame(&b, message); !errors.Is(err, wire.ErrLength) {
			t.Errorf("%d bytes are written: %v", len(message), err)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 3, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		message, err := ReadFrame(r)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := WriteFrame(&again, message); err != nil || !bytes.HasPrefix(b, again.Bytes()) {
			t.Fatalf("%x, %v", again.Bytes(), err)
		}
	})
}
