package as

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestMain(m *testing.M) {
	if arguments := os.Getenv(crowdChildVariable); arguments != "" {
		if runCrowd(arguments) {
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// startServer serves w.core on a loopback address until the test ends.
func startServer(t *testing.T, w *world) (address string, s *Server) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	w.trust.TLSCA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certificate := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	s = NewServer(w.core, listener, certificate, time.Now, slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
	})
	return listener.Addr().String(), s
}

func dial(t *testing.T, w *world, address string) *login.Client {
	t.Helper()
	c, err := login.Dial(t.Context(), login.Options{Address: address, Trust: w.trust})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestLoginsOverTLS(t *testing.T) {
	w := newWorld(t)
	address, _ := startServer(t, w)
	gate, viewer, cam := w.newKey(), w.newKey(), w.newKey()
	c := dial(t, w, address)
	grant, err := c.Login(t.Context(), wire.Subject{Kind: wire.SubjectAdapter, Name: "gate"}, gate, wire.CredentialToken{Token: "cye1.x"})
	if err != nil || grant.ManagerToken == "" {
		t.Fatalf("adapter: %v", err)
	}
	if grant, err = c.LoginGeneralNode(t.Context(), "cam1", cam, "gate", gate, identity.AssuranceMAC); err != nil || grant.FQDN != "cam1.home.example" {
		t.Fatalf("general node: %v", err)
	}
	var denied *login.DeniedError
	if _, err = c.LoginGeneralNode(t.Context(), "cam1", cam, "other", gate, identity.AssuranceMAC); !errors.As(err, &denied) || denied.Code != wire.LoginDenied {
		t.Fatalf("another adapter: %v", err)
	}
	if _, err = c.Login(t.Context(), wire.Subject{Kind: wire.SubjectNode, Name: "viewer"}, viewer, wire.CredentialPassword{Password: "correct"}); err != nil {
		t.Fatalf("node: %v", err)
	}
}

func TestOnlyTLS13WithTheProtocolsNameIsServed(t *testing.T) {
	w := newWorld(t)
	address, _ := startServer(t, w)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.trust.TLSCA)
	for name, config := range map[string]*tls.Config{
		"TLS 1.2":          {RootCAs: pool, MaxVersion: tls.VersionTLS12, NextProtos: []string{login.ALPN}},
		"no ALPN":          {RootCAs: pool},
		"another protocol": {RootCAs: pool, NextProtos: []string{"h2"}},
	} {
		conn, err := tls.Dial("tcp", address, config)
		if err != nil {
			continue
		}
		// A client without ALPN sees the refusal as the end of the connection.
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s is served", name)
		}
		_ = conn.Close()
	}
}

// TestStrangersGetNothingAndLeaveNothing sends what is no TLS, and TLS with
// frames that are no login, and measures the answer and what stays.
func TestStrangersGetNothingAndLeaveNothing(t *testing.T) {
	w := newWorld(t)
	address, s := startServer(t, w)
	for name, b := range map[string][]byte{
		"HTTP":    []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"garbage": {0x16, 0x03, 0x01, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8},
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		answer, _ := io.ReadAll(conn)
		t.Logf("%s: %d bytes in, %d bytes out", name, len(b), len(answer))
		if len(answer) > len(b) {
			t.Errorf("%s: %d bytes are answered with %d", name, len(b), len(answer))
		}
		_ = conn.Close()
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.trust.TLSCA)
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, NextProtos: []string{login.ALPN}})
	if err != nil {
		t.Fatal(err)
	}
	if err := login.WriteFrame(conn, []byte("not a login request")); err != nil {
		t.Fatal(err)
	}
	message, err := login.ReadFrame(conn)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := wire.ParseLoginResponse(message); err != nil || r.Code != wire.LoginInvalid {
		t.Errorf("answer %v %v", r.Code, err)
	}
	if _, err := login.ReadFrame(conn); err == nil {
		t.Error("the connection stays open after a malformed request")
	}
	_ = conn.Close()
	waitFor(t, "connections to be forgotten", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open)+len(s.byAddress) == 0
	})
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(5 * time.Second)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited 5 s for %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	w := newWorld(t)
	address, s := startServer(t, w)
	addr := source(fakeConn{"127.0.0.1"})
	for _, row := range []struct {
		name      string
		all, here int // open already
		ok        bool
	}{
		{"nobody is there", 0, 0, true},
		{"half of all are of one address", maxConnections / 2, maxConnections / 2, false},
		{"just below", maxConnections/2 - 1, maxConnections/2 - 1, true},
		{"one address has what is free", maxConnections - 1000, 1000, false},
		{"little is free, which is not for those who have much", maxConnections - 10, connectionsPerAddress, false},
		{"little is free, for those who have little", maxConnections - 10, connectionsPerAddress - 1, true},
		{"nothing is free", maxConnections, 0, false},
	} {
		s.mu.Lock()
		for i := range row.all {
			s.open[fakeConn{string(rune(i))}] = new(activity)
		}
		s.byAddress[addr] = row.here
		s.mu.Unlock()
		c, err := login.Dial(t.Context(), login.Options{Address: address, Trust: w.trust, Attempts: 1})
		if (err == nil) != row.ok {
			t.Errorf("%s: %v", row.name, err)
		}
		if err == nil {
			_ = c.Close()
		}
		waitFor(t, "the connection to be forgotten", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.open) == row.all && s.byAddress[addr] == row.here
		})
		s.mu.Lock()
		clear(s.open)
		clear(s.byAddress)
		s.mu.Unlock()
	}
}

func TestAnIPv6HostCountsOnceForAllItsAddresses(t *testing.T) {
	for _, row := range []struct {
		a, b string
		same bool
	}{
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
	} {
		if got := source(fakeConn{row.a}) == source(fakeConn{row.b}); got != row.same {
			t.Errorf("%s and %s: %v, want %v", row.a, row.b, got, row.same)
		}
	}
}

// Strangers who connect and say nothing must not keep devices from logging in.
func TestSilentConnectionsDoNotTakeThePlacesOfHandshakes(t *testing.T) {
	w := newWorld(t)
	address, s := startServer(t, w)
	for range maxHandshakes {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	waitFor(t, "silent connections", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == maxHandshakes
	})
	start := time.Now()
	dial(t, w, address)
	if took := time.Since(start); took > handshakeTimeout/2 {
		t.Errorf("a device has waited %v", took)
	}
}

// fakeConn stands for an open connection of an address.
type fakeConn struct{ addr string }

func (fakeConn) Read([]byte) (int, error)         { return 0, io.EOF }
func (fakeConn) Write(b []byte) (int, error)      { return len(b), nil }
func (fakeConn) Close() error                     { return nil }
func (fakeConn) LocalAddr() net.Addr              { return nil }
func (c fakeConn) RemoteAddr() net.Addr           { return &net.TCPAddr{IP: net.ParseIP(c.addr)} }
func (fakeConn) SetDeadline(time.Time) error      { return nil }
func (fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (fakeConn) SetWriteDeadline(time.Time) error { return nil }

func TestManyRefusalsEndTheConnection(t *testing.T) {
	w := newWorld(t)
	address, _ := startServer(t, w)
	c, err := login.Dial(t.Context(), login.Options{Address: address, Trust: w.trust, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	key := w.newKey()
	refusals := 0
	for range maxRefusals + 1 {
		_, err := c.Login(t.Context(), wire.Subject{Kind: wire.SubjectNode, Name: "viewer"}, key, wire.CredentialDeviceKey{})
		if denied := (*login.DeniedError)(nil); errors.As(err, &denied) {
			refusals++
		}
	}
	if refusals != maxRefusals {
		t.Errorf("%d refusals on one connection, want %d", refusals, maxRefusals)
	}
}
