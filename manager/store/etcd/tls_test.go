package etcd

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/manager/store"
)

// authority makes certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.key = a.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write("ca.crt", "CERTIFICATE", der)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) write(name, kind string, b []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue makes a certificate for client and server use on 127.0.0.1.
func (a *authority) issue(name string) (cert, key string) {
	a.t.Helper()
	private := a.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, crypto.PublicKey(private.Public()), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write(name+".crt", "CERTIFICATE", der), a.write(name+".key", "PRIVATE KEY", keyDER)
}

func TestConnectAuthenticatesBothSides(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	serverCert, serverKey := ours.issue("server")
	clientCert, clientKey := ours.issue("client")
	foreignCert, foreignKey := theirs.issue("client")
	ca := filepath.Join(ours.dir, "ca.crt")
	url, _ := startServer(t, "--cert-file", serverCert, "--key-file", serverKey, "--client-cert-auth", "--trusted-ca-file", ca)
	cases := []struct {
		name          string
		ca, cert, key string
		ok            bool
	}{
		{"right certificate and CA", ca, clientCert, clientKey, true},
		{"no client certificate", ca, "", "", false},
		{"client certificate of another CA", ca, foreignCert, foreignKey, false},
		{"server certificate of another CA", filepath.Join(theirs.dir, "ca.crt"), clientCert, clientKey, false},
		{"server certificate unknown to the system", "", clientCert, clientKey, false},
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, c := range cases {
		wg.Go(func() { // a refusal takes as long as the time limit
			client, err := Connect(context.Background(), Endpoints{URLs: []string{url}, CAFile: c.ca, CertificateFile: c.cert, KeyFile: c.key, Log: quiet()})
			if (err == nil) != c.ok || (!c.ok && !errors.Is(err, store.ErrUnavailable)) {
				t.Errorf("%s: %v", c.name, err)
			}
			if err == nil {
				_ = client.Close()
			}
		})
	}
}
