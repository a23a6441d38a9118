package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// ErrPlaintext says that an endpoint on another machine is not https.
var ErrPlaintext = errors.New("etcd holds keys and must be reached over https")

// Endpoints describes an external cluster.
type Endpoints struct {
	URLs            []string // https://host:2379; http only on a loopback address
	CAFile          string   // PEM of the cluster's CA; empty: the system's
	CertificateFile string   // PEM of the client certificate; empty: none
	KeyFile         string   // PEM of its key
	Username        string   // empty: the cluster has no authentication
	PasswordFile    string   // file with the user's password
	Log             *slog.Logger
}

// Check tells whether the URLs may be used and the files can be, without
// connecting.
func (e Endpoints) Check() error {
	_, tlsErr := e.tls()
	_, passwordErr := e.password()
	return errors.Join(tlsErr, passwordErr)
}

// password reads the password, without the end of its line.
func (e Endpoints) password() (string, error) {
	if e.Username == "" {
		return "", nil
	}
	b, err := os.ReadFile(e.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read the password for etcd: %w", err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" {
		return "", fmt.Errorf("read the password for etcd: %s is empty", e.PasswordFile)
	}
	return text, nil
}

// tls returns nil for endpoints over http.
func (e Endpoints) tls() (*tls.Config, error) {
	secure, err := checkURLs(e.URLs)
	if err != nil || !secure {
		return nil, err
	}
	return clientTLS(e)
}

// Connect connects to an external cluster and checks that it answers. The
// caller closes the client. The client reconnects by itself from then on.
func Connect(ctx context.Context, e Endpoints) (*clientv3.Client, error) {
	tlsConfig, err := e.tls()
	if err != nil {
		return nil, err
	}
	password, err := e.password()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: e.URLs, TLS: tlsConfig, Username: e.Username, Password: password,
		DialTimeout: dialTimeout, DialKeepAliveTime: keepAliveInterval, DialKeepAliveTimeout: keepAliveTimeout,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: reconnectMin, Multiplier: 2, Jitter: 0.2, MaxDelay: reconnectMax}, MinConnectTimeout: connectTimeout,
		})},
		Logger: zap.New(slogCore{log: e.Log}),
	})
	if err != nil { // with authentication New asks for a token
		return nil, fmt.Errorf("connect to etcd %v (do user and password fit?): %w", e.URLs, classify(ctx, "log in", err))
	}
	if err := NewStore(client).Ping(ctx); err != nil {
		_ = client.Close() // the ping's error is the one to report
		return nil, fmt.Errorf("connect to etcd %v (is it running, do the CA, certificate and key fit, and may the user read and write below /cyphonic/?): %w", e.URLs, err)
	}
	return client, nil
}

func checkURLs(urls []string) (secure bool, err error) {
	if len(urls) == 0 {
		return false, errors.New("no etcd endpoint is given")
	}
	for i, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return false, fmt.Errorf("etcd endpoint %q is not an URL like https://host:2379", text)
		}
		if u.Scheme == "http" {
			if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
				return false, fmt.Errorf("etcd endpoint %q: %w", text, ErrPlaintext)
			}
		}
		if i > 0 && secure != (u.Scheme == "https") {
			return false, errors.New("etcd endpoints mix http and https")
		}
		secure = u.Scheme == "https"
	}
	return secure, nil
}

func clientTLS(e Endpoints) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile != "" {
		pem, err := os.ReadFile(e.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA of etcd: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the CA of etcd: no certificate in %s", e.CAFile)
		}
	}
	if e.CertificateFile != "" || e.KeyFile != "" {
		if _, err := tls.LoadX509KeyPair(e.CertificateFile, e.KeyFile); err != nil {
			return nil, fmt.Errorf("read the client certificate for etcd: %w", err)
		}
		// Read anew for each connection: certificates are renewed while the
		// program runs.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(e.CertificateFile, e.KeyFile)
			return &pair, err
		}
	}
	return c, nil
}
