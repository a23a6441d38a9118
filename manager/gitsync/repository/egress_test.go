package repository

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyphonic/cyphonic/manager/gitsync/gittest"
)

func sourceWith(t *testing.T, url string, files map[string]string) Source {
	t.Helper()
	return Source{URL: url, Branch: gittest.Branch, SecretsDirectory: gittest.Secret(t, "fleet", files), SecretName: "fleet"}
}

// Whoever may write git sources chooses url and secretName. A password goes only
// to the hosts that whoever put it there has named.
func TestAPasswordGoesOnlyWhereItsFolderSays(t *testing.T) {
	var asked, told atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Authorization") != "" {
			told.Add(1)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer thief.Close()
	address := strings.TrimPrefix(thief.URL, "http://")
	for _, c := range []struct {
		name, hosts string
		told        bool
	}{
		{"none named", "", false},
		{"another", "git.example.org\n", false},
		{"one that begins alike", "127.0.0.1.example.org\n", false},
		{"another port", "127.0.0.1:1\n", false},
		{"its name", "git.example.org\n  127.0.0.1  \n", true},
		{"its name and port", address, true},
	} {
		asked.Store(0)
		told.Store(0)
		s := sourceWith(t, thief.URL+"/x.git", map[string]string{fileUsername: "me", filePassword: "hunter2-secret", fileHosts: c.hosts})
		_, err := Open(t.Context(), s)
		if ReasonOf(err) != ReasonCredentials || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v (%s)", c.name, err, ReasonOf(err))
		}
		if got := told.Load() > 0; got != c.told || (!c.told && asked.Load() > 0) {
			t.Errorf("%s: the server was asked %d times and told the password: %v", c.name, asked.Load(), got)
		}
	}
	if _, err := Open(t.Context(), sourceWith(t, thief.URL+"/x.git", nil)); asked.Load() == 0 {
		t.Errorf("without a password any server may be asked: %v", err)
	}
}

func TestARedirectDoesNotGoOnForever(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, r.URL.String(), http.StatusFound)
	}))
	defer server.Close()
	if _, err := Open(t.Context(), sourceWith(t, server.URL+"/x.git", nil)); ReasonOf(err) != ReasonInvalidURL || asked.Load() > maxRedirects+1 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
}

func TestNamesDoNotLeadToThisMachineOrItsLink(t *testing.T) {
	for text, allowed := range map[string]bool{
		"169.254.169.254": false, "fe80::1": false, "0.0.0.0": false, "::": false, "224.0.0.1": false, "127.0.0.1": false, "::1": false,
		"192.0.2.1": true, "10.0.0.1": true, "2001:db8::1": true,
	} {
		if err := checkAddress(netip.MustParseAddr(text), false); (err == nil) != allowed {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"127.0.0.1", "::1"} {
		if err := checkAddress(netip.MustParseAddr(text), true); err != nil {
			t.Errorf("%s, which the url says: %v", text, err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	keys := gittest.Start(t).StartSSH()
	// The resolver knows the name, but it is not among those that say "this machine".
	for _, url := range []string{"https://LocalHost:" + port + "/x.git", "ssh://git@LOCALHOST:" + port + "/x.git", "https://[::ffff:169.254.169.254]/x.git"} {
		s := sourceWith(t, url, map[string]string{fileIdentity: keys.Identity, fileKnownHosts: keys.KnownHosts})
		if _, err := Open(t.Context(), s); ReasonOf(err) != ReasonInvalidURL {
			t.Errorf("%s: %v (%s)", url, err, ReasonOf(err))
		}
	}
}
