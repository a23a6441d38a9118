package ctl

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const callbackPath = "/auth/callback"

// loginByBrowser is the authorization code flow of a native application (RFC 8252): PKCE (RFC 7636), a loopback redirect, state and nonce.
func (c *command) loginByBrowser(ctx context.Context, p *provider, into *oidcSession, flags loginFlags) error {
	listener, err := listenLoopback(flags.listen)
	if err != nil {
		return err
	}
	state, err := c.randomText()
	if err != nil {
		return err
	}
	nonce, err := c.randomText()
	if err != nil {
		return err
	}
	verifier := oauth2.GenerateVerifier()
	p.config.RedirectURL = "http://" + listener.Addr().String() + callbackPath
	address := p.config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier))
	fmt.Fprintf(c.Stderr, "Log in with a browser at\n%s\n", address)
	if !flags.noBrowser {
		if err := c.openBrowser(ctx, address); err != nil {
			c.warn("the browser does not open (%v): open the address above yourself", err)
		}
	}
	code, err := receiveCode(ctx, listener, state, into.Issuer)
	if err != nil {
		return err
	}
	token, err := p.config.Exchange(p.context(ctx), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return err
	}
	return p.take(ctx, token, nonce, into)
}

func listenLoopback(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &usageError{fmt.Errorf("--listen: %w", err)}
	}
	if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return nil, errors.Join(&usageError{fmt.Errorf("--listen %s is not an address of the loopback interface", address)}, listener.Close())
	}
	return listener, nil
}

func (c *command) randomText() (string, error) {
	var raw [24]byte
	if _, err := io.ReadFull(c.Rand, raw[:]); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", raw), nil
}

// openBrowser starts what $BROWSER names, or what the system opens addresses with, and does not wait for it.
func (c *command) openBrowser(ctx context.Context, address string) error {
	var command []string
	switch browser := c.Getenv("BROWSER"); {
	case browser != "":
		command = strings.Fields(browser)
	case runtime.GOOS == "darwin":
		command = []string{"open"}
	case runtime.GOOS == "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler"}
	default:
		command = []string{"xdg-open"}
	}
	return exec.CommandContext(context.WithoutCancel(ctx), command[0], append(command[1:], address)...).Start()
}

// callback is what the browser brought back.
type callback struct {
	code string
	err  error
}

// receiveCode serves the redirect until the browser brought the code of this login.
func receiveCode(ctx context.Context, listener net.Listener, state, issuer string) (string, error) {
	got := make(chan callback, 1)
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != callbackPath {
				http.NotFound(w, r)
				return
			}
			result, ok := readCallback(r.URL.Query(), state, issuer)
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Connection", "close")
			if !ok {
				http.Error(w, "This is not the login that cyphonicctl waits for.", http.StatusBadRequest)
				return
			}
			text := "You are logged in. You can close this window."
			if result.err != nil {
				text = "The login failed; cyphonicctl says why. You can close this window."
			}
			fmt.Fprintln(w, text)
			select {
			case got <- result:
			default:
			}
		}),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(stop)
		<-served
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case result := <-got:
		return result.code, result.err
	}
}

// readCallback returns false for a request that is not of this login: anybody on the machine can send one.
func readCallback(query url.Values, state, issuer string) (callback, bool) {
	if subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(state)) != 1 {
		return callback{}, false
	}
	if from := query.Get("iss"); from != "" && from != issuer { // RFC 9207
		return callback{}, false
	}
	if code := query.Get("error"); code != "" {
		return callback{err: fmt.Errorf("the provider says %q %s", code, query.Get("error_description"))}, true
	}
	if query.Get("code") == "" {
		return callback{}, false
	}
	return callback{code: query.Get("code")}, true
}
