package enrolment

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cyphonic/cyphonic/internal/enrolment/astest"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var viewer = astest.Device{FQDN: "viewer.lab.example", IPv4: netip.MustParseAddr("10.77.0.5"), IPv6: netip.MustParseAddr("fd77::5")}

// once is an AS with one one-time token and the keys that were enrolled with it.
func once(t *testing.T) *astest.Server {
	enrolled := map[[32]byte]bool{}
	used := false
	var s *astest.Server
	s = astest.Start(t, func(r wire.LoginRequest) wire.LoginResponse {
		switch c := r.Credential.(type) {
		case wire.CredentialToken:
			if c.Token != "cye1.good" || used {
				return astest.Refuse(wire.LoginDenied, "the token is wrong or used")
			}
			used = true
			enrolled[r.Signing] = true
		case wire.CredentialPassword:
			if c.Password != "right horse" {
				return astest.Refuse(wire.LoginDenied, "the password is wrong")
			}
		case wire.CredentialDeviceKey:
			if !enrolled[r.Signing] {
				return astest.Refuse(wire.LoginDenied, "the key is not enrolled")
			}
		}
		return s.Grant(r, viewer)
	})
	return s
}

func open(t *testing.T, s *astest.Server, dir string, change func(*Options)) *Device {
	t.Helper()
	o := Options{
		Subject: wire.Subject{Kind: wire.SubjectNode, Name: "viewer"}, StateDirectory: dir,
		Server: login.Options{Address: s.Address, Trust: s.Trust}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	change(&o)
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestATokenEnrolsOnceThenTheKeySuffices(t *testing.T) {
	s := once(t)
	dir := filepath.Join(t.TempDir(), "state")
	token := file(t, "cye1.good\n")
	first := open(t, s, dir, func(o *Options) { o.TokenFile = token })
	grant, err := first.Login(context.Background())
	if err != nil || grant.FQDN != viewer.FQDN {
		t.Fatalf("grant of %v, %v", grant, err)
	}
	if _, err := first.Login(context.Background()); err != nil { // renewal
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	second := open(t, s, dir, func(*Options) {}) // a restart, the token file is gone
	if second.Key().Public() != first.Key().Public() {
		t.Error("the key changed")
	}
	if _, err := second.Login(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestACrashBeforeEnrolmentIsNoDeadEnd(t *testing.T) {
	s := once(t)
	dir := t.TempDir()
	open(t, s, dir, func(*Options) {}) // made its key and was killed
	d := open(t, s, dir, func(o *Options) { o.TokenFile = file(t, "cye1.good") })
	if _, err := d.Login(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestCredentials(t *testing.T) {
	var denied *login.DeniedError
	tests := map[string]struct {
		token, password string
		ok              bool
		check           func(error) bool
	}{
		"nothing to enrol with": {"", "", false, func(err error) bool { return errors.Is(err, ErrNoCredential) }},
		"wrong token":           {"cye1.bad", "", false, func(err error) bool { return errors.As(err, &denied) }},
		"empty token file":      {"\n", "", false, func(err error) bool { return !errors.As(err, &denied) }},
		"right password":        {"", "right horse", true, nil},
		"wrong password":        {"", "wrong horse", false, func(err error) bool { return errors.As(err, &denied) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := open(t, once(t), t.TempDir(), func(o *Options) {
				if test.token != "" {
					o.TokenFile = file(t, test.token)
				}
				if test.password != "" {
					o.PasswordFile = file(t, test.password)
				}
			})
			_, err := d.Login(context.Background())
			if (err == nil) != test.ok || err != nil && !test.check(err) {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func TestLoginUntilGoesOnAfterErrors(t *testing.T) {
	s := once(t)
	d := open(t, s, t.TempDir(), func(o *Options) { o.PasswordFile = file(t, "right horse") })
	address := s.Address
	d.options.Server.Address = "127.0.0.1:1" // nobody
	failures := 0
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	grant, err := d.LoginUntil(ctx, func(error) { failures++; d.options.Server.Address = address })
	if err != nil || grant == nil || failures != 1 {
		t.Errorf("grant %v, %v after %d failures", grant, err, failures)
	}
}

func TestDelay(t *testing.T) {
	other := errors.New("unreachable")
	for attempt, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, maxDelay, maxDelay} {
		for range 50 {
			if d := Delay(attempt, other); d < want/2 || d > want {
				t.Errorf("attempt %d: %v is not within %v and %v", attempt, d, want/2, want)
			}
			if d := Delay(attempt, &login.DeniedError{}); d < deniedDelay/2 {
				t.Errorf("attempt %d after a refusal: %v", attempt, d)
			}
		}
	}
	if d := Delay(1000, other); d > maxDelay {
		t.Errorf("%v", d)
	}
}
