package manager

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// tlsFiles are the files that a TLS server needs.
type tlsFiles struct {
	certificate, key string
	clientCA         string // certificates of machines descend from these; empty: machines have none
}

// tlsSource is a TLS configuration that follows its files: a renewed
// certificate is used for the next connection, without a restart. What cannot
// be read leaves the last good configuration in use.
type tlsSource struct {
	files tlsFiles
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex
	content [3][]byte   // under mu: of the files, as last looked at
	looked  time.Time   // under mu
	config  *tls.Config // under mu; never changed
}

func newTLSSource(files tlsFiles, log *slog.Logger, now func() time.Time) (*tlsSource, error) {
	s := &tlsSource{files: files, log: log, now: now, looked: now()}
	content, err := s.read()
	if err != nil {
		return nil, err
	}
	if s.config, err = s.parse(content); err != nil {
		return nil, err
	}
	s.content = content
	return s, nil
}

// server is the configuration for a listener.
func (s *tlsSource) server() *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	config := s.config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current(), nil }
	return config
}

// current looks at the files if the last time is too long ago.
func (s *tlsSource) current() *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if now.Sub(s.looked).Abs() < certificateInterval {
		return s.config
	}
	s.looked = now
	content, err := s.read()
	if err == nil && bytes.Equal(content[0], s.content[0]) && bytes.Equal(content[1], s.content[1]) && bytes.Equal(content[2], s.content[2]) {
		return s.config
	}
	var config *tls.Config
	if err == nil {
		config, err = s.parse(content)
	}
	if err != nil { // perhaps only one of two files has been replaced yet
		s.log.Warn("the TLS certificate cannot be renewed; the last one stays in use", "err", err)
		return s.config
	}
	s.content, s.config = content, config
	s.log.Info("the TLS certificate was read again", "notAfter", config.Certificates[0].Leaf.NotAfter)
	return s.config
}

func (s *tlsSource) read() (content [3][]byte, err error) {
	for i, name := range []string{s.files.certificate, s.files.key, s.files.clientCA} {
		if name == "" && i == 2 {
			continue
		}
		if content[i], err = os.ReadFile(name); err != nil {
			return content, err
		}
	}
	return content, nil
}

func (s *tlsSource) parse(content [3][]byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(content[0], content[1])
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", s.files.certificate, s.files.key, err)
	}
	if now := s.now(); now.After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("%s has ended on %s: make a new one", s.files.certificate, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if s.files.clientCA != "" {
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !config.ClientCAs.AppendCertsFromPEM(content[2]) {
			return nil, errors.New(s.files.clientCA + " holds no certificate in PEM")
		}
	}
	return config, nil
}
