package gittest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSH is the repository of a Server behind ssh.
type SSH struct {
	server   *Server
	listener net.Listener
	config   *ssh.ServerConfig
	// Identity is the private key that is let in, KnownHosts the line that
	// names the server's own.
	Identity, KnownHosts string
}

// StartSSH serves the repository over ssh until the test ends.
func (s *Server) StartSSH() *SSH {
	s.t.Helper()
	host, _ := newKey(s.t)
	user, identity := newKey(s.t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || !bytes.Equal(key.Marshal(), user.PublicKey().Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	h := &SSH{
		server: s, listener: listener, config: config, Identity: identity,
		KnownHosts: knownhosts.Line([]string{listener.Addr().String()}, host.PublicKey()),
	}
	var wg sync.WaitGroup
	wg.Go(func() { h.accept(&wg) })
	s.t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
	return h
}

// URL is what a GitSource names.
func (h *SSH) URL() string { return "ssh://git@" + h.listener.Addr().String() + "/" + Repository }

// OtherIdentity is a key that is not let in.
func (h *SSH) OtherIdentity() string {
	_, identity := newKey(h.server.t)
	return identity
}

// OtherKnownHosts names the server with a key that it does not have.
func (h *SSH) OtherKnownHosts() string {
	other, _ := newKey(h.server.t)
	return knownhosts.Line([]string{h.listener.Addr().String()}, other.PublicKey())
}

func (h *SSH) accept(wg *sync.WaitGroup) {
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			return // closed
		}
		wg.Go(func() {
			defer conn.Close()
			_, channels, requests, err := ssh.NewServerConn(conn, h.config)
			if err != nil {
				return // the client was refused, or did not like the server
			}
			wg.Go(func() { ssh.DiscardRequests(requests) })
			for offered := range channels {
				if channel, requests, err := offered.Accept(); err == nil {
					wg.Go(func() { h.session(channel, requests) })
				}
			}
		})
	}
}

// session answers one exec request.
func (h *SSH) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for r := range requests {
		var payload struct{ Command string }
		if r.Type != "exec" || ssh.Unmarshal(r.Payload, &payload) != nil {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		path, ok := strings.CutPrefix(payload.Command, "git-upload-pack '/")
		if !ok {
			_, _ = fmt.Fprintln(channel.Stderr(), "only git-upload-pack is possible")
			return
		}
		code := h.run(filepath.Join(h.server.projects, strings.TrimSuffix(path, "'")), channel)
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{code}))
		return
	}
}

// run serves a repository on a channel and returns the exit code.
func (h *SSH) run(repository string, channel ssh.Channel) uint32 {
	command := exec.Command("git", "upload-pack", repository)
	command.Env, command.Stdout, command.Stderr = environment(), channel, channel.Stderr()
	stdin, err := command.StdinPipe()
	if err != nil || command.Start() != nil {
		return 1
	}
	// The client need not end its side for the program to end.
	go func() { _, _ = io.Copy(stdin, channel) }()
	if command.Wait() != nil {
		return 128
	}
	return 0
}

func newKey(t interface {
	Helper()
	Fatal(args ...any)
},
) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(pem.EncodeToMemory(block))
}
