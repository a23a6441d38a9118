// Package enrolment makes a program a device: it keeps the device's key in the state directory and logs in
// with it, the first time with an enrolment token or password, afterwards with the key alone. It must not
// know what a grant is used for.
package enrolment

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
)

const (
	keyFile = "device.key"
	// maxCredential bounds a token or password file, in bytes.
	maxCredential = 512
	firstDelay    = time.Second
	maxDelay      = time.Minute
	// deniedDelay is the least delay after a refusal, before half of it is left to chance: only a person can change the
	// outcome.
	deniedDelay = 10 * time.Second
)

// ErrNoCredential means that the device is not enrolled and has nothing to enrol with.
var ErrNoCredential = errors.New("this device is not enrolled yet and has no credential: " +
	"create a token with \"cyphonicctl token create\", write it to a file and name the file in enrollmentTokenFile")

// Options describe the device and where it logs in.
type Options struct {
	Subject        wire.Subject
	StateDirectory string
	TokenFile      string // may be empty
	PasswordFile   string // may be empty
	Server         login.Options
	Log            *slog.Logger
}

// Device is one device with its key. Its methods are for one goroutine at a time.
type Device struct {
	options Options
	key     *identity.DeviceKey
	fresh   bool // the key was made by this process and has not logged in
}

// Open loads the device key, or makes it on the first start.
func Open(o Options) (*Device, error) {
	if err := os.MkdirAll(o.StateDirectory, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	path := filepath.Join(o.StateDirectory, keyFile)
	_, err := os.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	key, err := identity.LoadOrCreateDeviceKey(path, rand.Reader)
	if err != nil {
		return nil, err
	}
	return &Device{options: o, key: key, fresh: fresh}, nil
}

// Key returns the device key.
func (d *Device) Key() *identity.DeviceKey { return d.key }

// Login tries once: with the key alone unless it is new, and if the AS does not know the key, with the token
// or password. Errors are those of package login, ErrNoCredential, or the connection's.
func (d *Device) Login(ctx context.Context) (*login.Grant, error) {
	server := d.options.Server
	if server.Repeated == nil {
		server.Repeated = func(err error) { d.options.Log.Info("login repeated on a new connection", "error", err) }
	}
	client, err := login.Dial(ctx, server)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var refused error
	if !d.fresh {
		grant, err := client.Login(ctx, d.options.Subject, d.key, wire.CredentialDeviceKey{})
		if err == nil {
			return grant, nil
		}
		var denied *login.DeniedError
		if !errors.As(err, &denied) {
			return nil, err
		}
		refused = err
	}
	credential, err := d.credential()
	if err != nil {
		if refused != nil {
			return nil, refused
		}
		return nil, err
	}
	grant, err := client.Login(ctx, d.options.Subject, d.key, credential)
	if err != nil {
		return nil, err
	}
	d.fresh = false
	d.options.Log.Info("device enrolled; from now on its key suffices and the token or password file may be removed")
	return grant, nil
}

// credential reads the token or password anew each time: the operator may replace the file at any time.
func (d *Device) credential() (wire.Credential, error) {
	if d.options.TokenFile != "" {
		token, err := readSecret(d.options.TokenFile)
		if err == nil {
			return wire.CredentialToken{Token: token}, nil
		}
		if d.options.PasswordFile == "" {
			return nil, fmt.Errorf("enrollmentTokenFile: %w", err)
		}
	}
	if d.options.PasswordFile != "" {
		password, err := readSecret(d.options.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("passwordFile: %w", err)
		}
		return wire.CredentialPassword{Password: password}, nil
	}
	return nil, ErrNoCredential
}

func readSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(b), "\r\n")
	if secret == "" || len(secret) > maxCredential {
		return "", fmt.Errorf("%s has %d characters, want 1 to %d", path, len(secret), maxCredential)
	}
	return secret, nil
}

// LoginUntil tries until it works or ctx ends, with back-off. failed is told every error.
func (d *Device) LoginUntil(ctx context.Context, failed func(error)) (*login.Grant, error) {
	for attempt := 0; ; attempt++ {
		grant, err := d.Login(ctx)
		if err == nil {
			return grant, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		delay := Delay(attempt, err)
		d.options.Log.Warn("login failed", "error", err, "retry", delay)
		failed(err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(delay):
		}
	}
}

// Delay returns how long to wait after the given attempt (counted from 0) failed with err: doubling from 1 s
// to 1 min, half of it random so that devices do not come back in step after an outage.
func Delay(attempt int, err error) time.Duration {
	delay := maxDelay
	if attempt < 6 {
		delay = firstDelay << attempt
	}
	var denied *login.DeniedError
	if errors.As(err, &denied) || errors.Is(err, ErrNoCredential) {
		delay = max(delay, deniedDelay)
	}
	return delay/2 + mathrand.N(delay/2)
}
