package control

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The names of users and roles in etcd.
const (
	etcdUser = "cyphonic"
	etcdRoot = "root"
)

func (p *Plane) startMembers(ctx context.Context) error {
	if p.options.Members == 0 {
		return nil
	}
	directory := filepath.Join(p.lab.Directory(), "etcd")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	var err error
	if p.authority, err = newAuthority(directory); err != nil {
		return err
	}
	if err := p.authority.issue("client", 100); err != nil {
		return err
	}
	if err := p.setPassword(); err != nil {
		return err
	}
	for i := range p.options.Members {
		name := p.hosts[i].Name
		if err := p.authority.issue(name, int64(2+i), net.IP(p.hosts[i].Address.AsSlice()), net.IPv4(127, 0, 0, 1)); err != nil {
			return err
		}
		member := p.process(i, "etcd-"+name, p.memberArgs(i)...)
		p.Members = append(p.Members, member)
		if err := member.Start(); err != nil {
			return err
		}
	}
	return p.enableAuthentication(ctx)
}

func (p *Plane) setPassword() error {
	var random [24]byte
	_, _ = rand.Read(random[:]) // never fails since Go 1.24
	p.password = hex.EncodeToString(random[:])
	return os.WriteFile(p.authority.path("password"), []byte(p.password+"\n"), 0o600)
}

// etcdConfig is the section etcd of a manager's configuration.
func (p *Plane) etcdConfig() map[string]any {
	return map[string]any{
		"endpoints": p.endpoints(), "caFile": p.authority.path("ca.crt"), "certificateFile": p.authority.path("client.crt"), "keyFile": p.authority.path("client.key"),
		"username": etcdUser, "passwordFile": p.authority.path("password"),
	}
}

func (p *Plane) endpoints() []string {
	var all []string
	for i := range p.options.Members {
		all = append(all, fmt.Sprintf("https://%s:%d", p.hosts[i].Address, etcdClientPort))
	}
	return all
}

func (p *Plane) memberArgs(i int) []string {
	name := p.hosts[i].Name
	var cluster []string
	for j := range p.options.Members {
		cluster = append(cluster, fmt.Sprintf("%s=https://%s:%d", p.hosts[j].Name, p.hosts[j].Address, etcdPeerPort))
	}
	peer := fmt.Sprintf("https://%s:%d", p.hosts[i].Address, etcdPeerPort)
	client := fmt.Sprintf("https://%s:%d", p.hosts[i].Address, etcdClientPort)
	return append([]string{
		"etcd", "--name", name, "--data-dir", filepath.Join(p.authority.directory, name),
		"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new",
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--trusted-ca-file", p.authority.path("ca.crt"), "--cert-file", p.authority.path(name + ".crt"), "--key-file", p.authority.path(name + ".key"), "--client-cert-auth",
		"--peer-trusted-ca-file", p.authority.path("ca.crt"), "--peer-cert-file", p.authority.path(name + ".crt"), "--peer-key-file", p.authority.path(name + ".key"), "--peer-client-cert-auth",
		"--heartbeat-interval", "100", "--election-timeout", "1000", "--log-level", "warn",
	}, p.options.EtcdFlags...)
}

// enableAuthentication makes a user that may use the keys of CYPHONIC only, as an operator would with etcdctl.
func (p *Plane) enableAuthentication(ctx context.Context) error {
	steps := []struct {
		path string
		body map[string]any
	}{
		{"auth/user/add", map[string]any{"name": etcdRoot, "password": p.password}},
		{"auth/role/add", map[string]any{"name": etcdRoot}},
		{"auth/user/grant", map[string]any{"user": etcdRoot, "role": etcdRoot}},
		{"auth/user/add", map[string]any{"name": etcdUser, "password": p.password}},
		{"auth/role/add", map[string]any{"name": etcdUser}},
		{"auth/role/grant", map[string]any{"name": etcdUser, "perm": map[string]any{
			"permType": 2, "key": base64.StdEncoding.EncodeToString([]byte("/cyphonic/")), "range_end": base64.StdEncoding.EncodeToString([]byte("/cyphonic0")),
		}}},
		{"auth/user/grant", map[string]any{"user": etcdUser, "role": etcdUser}},
		{"auth/enable", map[string]any{}},
	}
	for _, step := range steps {
		var last error
		err := wait(ctx, func() bool {
			last = p.etcdCall(ctx, 0, step.path, step.body, nil)
			return last == nil
		})
		if err != nil {
			return fmt.Errorf("etcd %s: %w: %w", step.path, err, last)
		}
	}
	return nil
}

// etcdCall makes a request to the JSON interface of member i.
func (p *Plane) etcdCall(ctx context.Context, i int, path string, body, answer any) error {
	pair, err := tls.LoadX509KeyPair(p.authority.path("client.crt"), p.authority.path("client.key"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.authority.certificate)
	transport := &http.Transport{DialContext: p.Dial, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.endpoints()[i]+"/v3/"+path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err = io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK && !bytes.Contains(content, []byte("already")) {
		return errors.New(strings.TrimSpace(string(content)))
	}
	if answer != nil {
		return json.Unmarshal(content, answer)
	}
	return nil
}

// Leader returns which member leads the cluster, as member i sees it, or -1.
func (p *Plane) Leader(ctx context.Context) int {
	for i, member := range p.Members {
		if !member.Running() {
			continue
		}
		var status struct {
			Header struct {
				MemberID string `json:"member_id"`
			} `json:"header"`
			Leader string `json:"leader"`
		}
		if p.etcdCall(ctx, i, "maintenance/status", map[string]any{}, &status) == nil && status.Leader == status.Header.MemberID {
			return i
		}
	}
	return -1
}
