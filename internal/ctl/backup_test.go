package ctl_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	encryption "filippo.io/age"

	"github.com/cyphonic/cyphonic/internal/ctl"
)

// archive is a manager that knows backups only. They are of random bytes, larger than one part of age's stream.
type archive struct {
	payload  []byte
	cut      bool   // the connection breaks in the middle of the backup
	restored []byte // what the last restore brought; nil: none ended
	replace  string
}

func (a *archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/api/v1/backup":
		var recipients []encryption.Recipient
		for _, text := range r.URL.Query()["recipient"] {
			recipient, err := encryption.ParseX25519Recipient(text)
			if err != nil {
				panic(err)
			}
			recipients = append(recipients, recipient)
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		out, err := encryption.Encrypt(w, recipients...)
		if err != nil {
			panic(err)
		}
		_, _ = out.Write(a.payload)
		if a.cut {
			panic(http.ErrAbortHandler)
		}
		_ = out.Close()
	case "/api/v1/restore":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a.restored, a.replace = body, r.URL.Query().Get("replace")
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"keys": 7, "resources": 3, "revision": 42, "skipped": 1}`)
	default:
		http.NotFound(w, r)
	}
}

// startArchive serves an archive with the certificate of a new installation.
func startArchive(t *testing.T) (*archive, operator) {
	t.Helper()
	site := t.TempDir()
	if code := ctl.Run(t.Context(), []string{"init", "--directory", site, "--address", "127.0.0.1"}, environment(io.Discard)); code != 0 {
		t.Fatal("init failed")
	}
	certificate, err := tls.LoadX509KeyPair(filepath.Join(site, "cloud", "tls.crt"), filepath.Join(site, "cloud", "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &archive{payload: make([]byte, 300<<10)}
	if _, err := rand.Read(a.payload); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: a, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(listener, "", "")
	}()
	t.Cleanup(func() {
		_ = server.Shutdown(context.WithoutCancel(t.Context()))
		<-done
	})
	config := filepath.Join(site, "config.yaml")
	if err := setServer(config, listener.Addr()); err != nil {
		t.Fatal(err)
	}
	return a, operator{t, config}
}

func TestABackupComesBackAsItWas(t *testing.T) {
	t.Parallel()
	a, o := startArchive(t)
	folder := t.TempDir()
	key, file := filepath.Join(folder, "key"), filepath.Join(folder, "site.age")
	_, stderr := o.run(0, "", "backup", "keygen", "-o", key)
	recipient := strings.TrimSpace(strings.TrimPrefix(stderr, "Public key: "))
	o.run(0, "", "backup", "--recipient", recipient, "-o", file)
	if encrypted := mustRead(t, file); strings.Contains(encrypted, string(a.payload[:64])) {
		t.Fatal("the backup is in clear")
	}
	stdout, _ := o.run(0, "", "restore", "--identity", key, file)
	if !bytes.Equal(a.restored, a.payload) || a.replace == "true" {
		t.Errorf("%d of %d bytes came back, replace %q", len(a.restored), len(a.payload), a.replace)
	}
	if want := "restored 3 resources (7 keys), left out 1 key, at revision 42\n"; stdout != want {
		t.Errorf("got %q, want %q", stdout, want)
	}
	a.restored = nil
	if _, stderr := o.run(1, "n\n", "restore", "--identity", key, file, "--replace"); a.restored != nil || !strings.Contains(stderr, "Delete all that the managers have") {
		t.Errorf("%s", stderr)
	}
	o.run(0, "y\n", "restore", "--identity", key, file, "--replace")
	if !bytes.Equal(a.restored, a.payload) || a.replace != "true" {
		t.Errorf("%d bytes came back, replace %q", len(a.restored), a.replace)
	}
}

// Whatever part of it is damaged or missing: nothing is sent.
func TestADamagedBackupIsNotSent(t *testing.T) {
	t.Parallel()
	a, o := startArchive(t)
	folder := t.TempDir()
	key, file := filepath.Join(folder, "key"), filepath.Join(folder, "site.age")
	_, stderr := o.run(0, "", "backup", "keygen", "-o", key)
	o.run(0, "", "backup", "--recipient", strings.TrimSpace(strings.TrimPrefix(stderr, "Public key: ")), "-o", file)
	whole := mustRead(t, file)
	flip := func(i int) string { return whole[:i] + string(rune(whole[i]^1)) + whole[i+1:] }
	for name, damaged := range map[string]string{
		"empty": "", "cut in the header": whole[:50], "cut after a part": whole[:len(whole)-1], "half": whole[:len(whole)/2],
		"changed at the end": whole[:len(whole)-1] + "x", "longer": whole + "x", "changed in the middle": flip(len(whole) / 2),
	} {
		if err := os.WriteFile(file, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if o.run(3, "", "restore", "--identity", key, file, "--yes"); a.restored != nil {
			t.Fatalf("%s: sent", name)
		}
	}
}

func TestABackupThatBreaksOffLeavesNoFile(t *testing.T) {
	t.Parallel()
	a, o := startArchive(t)
	a.cut = true
	folder := t.TempDir()
	_, stderr := o.run(0, "", "backup", "keygen")
	_, stderr = o.run(1, "", "backup", "--recipient", strings.TrimSpace(strings.TrimPrefix(stderr, "Public key: ")), "-o", filepath.Join(folder, "site.age"))
	if !strings.Contains(stderr, "the backup broke off after") {
		t.Error(stderr)
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}
