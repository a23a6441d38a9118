package manager

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
	"time"
)

// shown is the certificate that a server with the configuration shows.
func shown(t *testing.T, config *tls.Config, client *tls.Config) *x509.Certificate {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err == nil {
			_ = conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	<-done
	return conn.ConnectionState().PeerCertificates[0]
}

func TestARenewedCertificateIsUsedWithoutRestart(t *testing.T) {
	first, second := newCredentials(t), newCredentials(t)
	now := time.Now()
	s, err := newTLSSource(tlsFiles{certificate: first.cert, key: first.key}, quiet(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	config := s.server()
	client := &tls.Config{InsecureSkipVerify: true} // which certificate it is, is what is tested
	before := shown(t, config, client)
	copyFile(t, second.key, first.key)
	now = now.Add(2 * certificateInterval)
	if got := shown(t, config, client); !got.Equal(before) {
		t.Error("a key without its certificate is used")
	}
	copyFile(t, second.cert, first.cert)
	if got := shown(t, config, client); !got.Equal(before) {
		t.Error("the files are read for every connection")
	}
	now = now.Add(2 * certificateInterval)
	if got := shown(t, config, client); got.Equal(before) {
		t.Error("the renewed certificate is not used")
	}
	if err := os.Remove(first.cert); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * certificateInterval)
	if got := shown(t, config, client); got.Equal(before) {
		t.Error("the last good certificate is forgotten")
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestClientCertificatesAreVerifiedIfGiven(t *testing.T) {
	server, machine, stranger := newCredentials(t), newCredentials(t), newCredentials(t)
	s, err := newTLSSource(tlsFiles{server.cert, server.key, machine.cert}, quiet(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	connect := func(c *credentials) (peers int, err error) {
		listener, err := tls.Listen("tcp", "127.0.0.1:0", s.server())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		type result struct {
			peers int
			err   error
		}
		done := make(chan result, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				done <- result{0, err}
				return
			}
			defer func() { _ = conn.Close() }()
			err = conn.(*tls.Conn).Handshake()
			done <- result{len(conn.(*tls.Conn).ConnectionState().VerifiedChains), err}
		}()
		config := &tls.Config{RootCAs: server.pool}
		if c != nil {
			pair, err := tls.LoadX509KeyPair(c.cert, c.key)
			if err != nil {
				t.Fatal(err)
			}
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		if conn, err := tls.Dial("tcp", listener.Addr().String(), config); err == nil {
			defer func() { _ = conn.Close() }()
		}
		r := <-done
		return r.peers, r.err
	}
	if n, err := connect(nil); err != nil || n != 0 {
		t.Errorf("without a certificate: %d %v", n, err)
	}
	if n, err := connect(&machine); err != nil || n != 1 {
		t.Errorf("with a certificate of the authority: %d %v", n, err)
	}
	if _, err := connect(&stranger); err == nil {
		t.Error("a stranger's certificate was accepted")
	}
}
