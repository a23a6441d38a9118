package ctl_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cyphonic/cyphonic/internal/ctl"
	"github.com/cyphonic/cyphonic/manager"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/access/accesstest"
)

const password = "correct horse battery staple"

// site is a manager that takes the users of an OpenID provider.
type site struct {
	provider *accesstest.Provider
	config   string // configuration file of the operator
	ca       string // file with the certificate of the provider
}

func newSite(t testing.TB, directory string) (site, error) {
	provider := accesstest.New(
		t, accesstest.User{Name: "alice", Password: password, Email: "alice@example.org", Groups: []string{"operators"}},
		accesstest.User{Name: "bob", Password: password, Email: "bob@example.org"},
	)
	config, err := startManagerWith(t, directory, func(o *manager.Options) {
		o.OIDC = &access.OIDC{Issuer: provider.Issuer, ClientID: provider.ClientID, UsernameClaim: "email", GroupsClaim: "groups", Roots: provider.Roots}
	})
	if err != nil {
		return site{}, err
	}
	connection, err := tls.Dial("tcp", strings.TrimPrefix(provider.Issuer, "https://"), &tls.Config{RootCAs: provider.Roots})
	if err != nil {
		return site{}, err
	}
	defer connection.Close()
	ca := filepath.Join(directory, "provider.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: connection.ConnectionState().PeerCertificates[0].Raw})
	return site{provider, config, ca}, os.WriteFile(ca, certificate, 0o600)
}

// Scripts in testdata/login have a manager and an OpenID provider $ISSUER with the client $CLIENT and the users alice and bob, for whom $BROWSER logs in.
func TestLogin(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/login", Cmds: commands(), RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			s, err := newSite(env.T().(testing.TB), filepath.Join(env.WorkDir, ".site"))
			if err != nil {
				return err
			}
			env.Setenv("CYPHONIC_CONFIG", s.config)
			env.Setenv("ISSUER", s.provider.Issuer)
			env.Setenv("CLIENT", s.provider.ClientID)
			env.Setenv("CA", s.ca)
			env.Setenv("BROWSER", "browser alice")
			env.Values[contextKey{}] = env.T()
			return setup(env)
		},
	})
}

// browse logs a user in at the provider's page, as a person with a browser does, and follows wherever it is sent.
func browse(args []string) int {
	err := func() error {
		certificates, err := os.ReadFile(os.Getenv("CA"))
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(certificates)
		jar, err := cookiejar.New(nil)
		if err != nil {
			return err
		}
		browser := http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
		page, err := browser.Get(args[1])
		if err != nil {
			return err
		}
		page.Body.Close()
		after, err := browser.PostForm(page.Request.URL.String(), url.Values{"username": {args[0]}, "password": {password}})
		if err != nil {
			return err
		}
		defer after.Body.Close()
		if after.StatusCode != http.StatusOK {
			return errors.New(after.Status)
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		return 1
	}
	return 0
}

func TestLoginOnAnotherMachine(t *testing.T) {
	s, err := newSite(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	reader, writer := io.Pipe()
	env := environment(io.Discard)
	env.Stderr = writer
	code := make(chan int, 1)
	go func() {
		code <- ctl.Run(t.Context(), []string{"--config", s.config, "login", "--device", "--issuer", s.provider.Issuer, "--client-id", s.provider.ClientID, "--ca-file", s.ca}, env)
		writer.Close()
	}()
	var said strings.Builder
	for lines := bufio.NewScanner(reader); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		entered := regexp.MustCompile(`enter the code (\S+)`).FindStringSubmatch(lines.Text())
		if entered == nil {
			continue
		}
		answer, err := s.provider.Client().PostForm(s.provider.Issuer+"/device", url.Values{"user_code": {entered[1]}, "username": {"bob"}, "password": {password}})
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("the provider answers %s to the code %s", answer.Status, entered[1])
		}
	}
	if got := <-code; got != 0 || !strings.Contains(said.String(), "Logged in as user/bob@example.org until ") {
		t.Errorf("exit code %d\n%s", got, said.String())
	}
}
