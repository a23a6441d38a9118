package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshConversation runs git-upload-pack on the server. Nothing of the user
// that the manager runs as is used: no configuration, no agent, no keys.
type sshConversation struct {
	client  *ssh.Client
	session *ssh.Session
	stdin   io.WriteCloser
	stdout  io.Reader
	said    bytes.Buffer // what the server writes to stderr, bounded
	stop    func() bool  // ends the tie to the context
}

func dialSSH(ctx context.Context, u *url.URL, source Source, s secret, b *budget) (conversation, error) {
	if len(s.identity) == 0 || len(s.knownHosts) == 0 {
		return nil, faultf(ReasonCredentials, "ssh needs the files %s and %s in the folder that secretName names", fileIdentity, fileKnownHosts)
	}
	signer, err := ssh.ParsePrivateKey(s.identity)
	if err != nil {
		return nil, faultf(ReasonCredentials, "%s is not a private key without passphrase in PEM", fileIdentity)
	}
	known, err := knownhosts.New(filepath.Join(source.SecretsDirectory, source.SecretName, fileKnownHosts))
	if err != nil {
		return nil, faultf(ReasonCredentials, "%s cannot be read: %s", fileKnownHosts, clean(err.Error()))
	}
	address := net.JoinHostPort(u.Hostname(), orDefault(u.Port(), "22"))
	config := &ssh.ClientConfig{
		User: orDefault(u.User.Username(), orDefault(s.username, "git")),
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			if err := known(host, remote, key); err != nil {
				return b.fail(faultf(ReasonHostKey, "the key of the server (%s %s) is not that of %s: %s",
					key.Type(), ssh.FingerprintSHA256(key), fileKnownHosts, clean(err.Error())))
			}
			return nil
		},
		HostKeyAlgorithms: algorithmsOf(known, address),
		Timeout:           dialTimeout,
	}
	conn, err := dialServer(u)(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, err := runUploadPack(conn, address, u.Path, config, b)
	if err != nil {
		stop()
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	c.stop = stop
	return c, nil
}

// runUploadPack logs in and starts the server's program.
func runUploadPack(conn net.Conn, address, path string, config *ssh.ClientConfig, b *budget) (*sshConversation, error) {
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, err
	}
	transport, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		return nil, err
	}
	c := &sshConversation{client: ssh.NewClient(transport, channels, requests)}
	if c.session, err = c.client.NewSession(); err != nil {
		return nil, errors.Join(err, c.client.Close())
	}
	c.session.Stderr = &limitedBuffer{&c.said}
	stdin, errIn := c.session.StdinPipe()
	stdout, errOut := c.session.StdoutPipe()
	if err := errors.Join(errIn, errOut, c.session.Start("git-upload-pack "+quote(path))); err != nil {
		return nil, errors.Join(err, c.client.Close())
	}
	c.stdin, c.stdout = stdin, &reader{stdout, b}
	return c, conn.SetDeadline(time.Time{}) // the context of the session goes on bounding it
}

// AdvertisedReferencesContext reads what the program says first.
func (c *sshConversation) AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error) {
	offered := packp.NewAdvRefs()
	err := offered.Decode(c.stdout)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, packp.ErrEmptyInput):
		_ = c.session.Wait() // so that all of stderr is there
		return nil, fmt.Errorf("the server says: %s", c.said.String())
	case errors.Is(err, packp.ErrEmptyAdvRefs), err == nil && offered.IsEmpty():
		return nil, transport.ErrEmptyRemoteRepository
	case err != nil:
		return nil, err
	}
	transport.FilterUnsupportedCapabilities(offered.Capabilities)
	return offered, nil
}

// UploadPack sends the request and returns the answer up to the pack.
func (c *sshConversation) UploadPack(ctx context.Context, r *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	if err := r.UploadRequest.Encode(c.stdin); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c.stdin, "0009done\n"); err != nil {
		return nil, err
	}
	response := packp.NewUploadPackResponse(r)
	err := response.Decode(io.NopCloser(c.stdout))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return response, err
}

// Close ends the connection.
func (c *sshConversation) Close() error {
	c.stop()
	return c.client.Close()
}

// algorithmsOf asks the known hosts which kinds of key they have for the
// server, so that it shows one that can be checked. None is the library's choice.
func algorithmsOf(known ssh.HostKeyCallback, address string) []string {
	var mismatch *knownhosts.KeyError
	if !errors.As(known(address, &net.TCPAddr{IP: net.IPv4zero}, nobody{}), &mismatch) {
		return nil
	}
	var algorithms []string
	for _, k := range mismatch.Want {
		if k.Key.Type() == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		algorithms = append(algorithms, k.Key.Type())
	}
	return algorithms
}

// nobody is a public key that no host has.
type nobody struct{}

func (nobody) Type() string                        { return "none" }
func (nobody) Marshal() []byte                     { return []byte("none") }
func (nobody) Verify([]byte, *ssh.Signature) error { return errors.New("nobody signs") }

// quote makes one word of a path for the server's shell.
func quote(path string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}

// limitedBuffer keeps the beginning and drops the rest.
type limitedBuffer struct{ to *bytes.Buffer }

func (l *limitedBuffer) Write(p []byte) (int, error) {
	if room := maxErrorText - l.to.Len(); room > 0 {
		l.to.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
