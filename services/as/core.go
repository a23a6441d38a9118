// Package as is the Authentication Service: devices log in over TLS 1.3 and
// get a certificate for their keys, a ticket for the NMS and the address of
// the NMS.
//
// The core decides; the server speaks TLS. The AS certifies public keys and
// never sees a private one: it cannot read or forge what peers say to each
// other, and it must not import the tunnel package.
package as

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// Directory is the desired state and the registry of enrolled keys.
// replica.Replica implements it.
type Directory interface {
	Snapshot() *replica.Snapshot
	// Sync waits until the snapshot is not older than the call.
	Sync(ctx context.Context) error
	Enrol(ctx context.Context, e replica.Enrolment) error
}

// CoreOptions are what a Core needs. All fields are required.
type CoreOptions struct {
	Directory  Directory
	Issuer     *identity.Issuer
	Rand       io.Reader
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Core decides about logins. It is safe for concurrent use.
type Core struct {
	directory Directory
	issuer    *identity.Issuer
	rand      io.Reader
	log       *slog.Logger
	metrics   *metrics
	passwords *passwords
	tokens    *rate.Limiter
}

// NewCore returns a core.
func NewCore(o CoreOptions) (*Core, error) {
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return &Core{
		directory: o.Directory, issuer: o.Issuer, rand: o.Rand, log: o.Log, metrics: m,
		passwords: newPasswords(), tokens: rate.NewLimiter(tokensPerSecond, tokenBurst),
	}, nil
}

// refusal is why a login is not granted: for the device (code), for metrics
// (reason, one word) and for people (message: what is wrong and what to do).
type refusal struct {
	code    wire.LoginCode
	reason  string
	message string
}

func (r *refusal) Error() string { return r.message }

func refuse(code wire.LoginCode, reason, format string, args ...any) *refusal {
	return &refusal{code, reason, fmt.Sprintf(format, args...)}
}

// Login answers one request that came over the connection with that exporter.
// It blocks for as long as a password hash or etcd takes, at most until ctx ends.
func (c *Core) Login(ctx context.Context, now time.Time, request wire.LoginRequest, exporter []byte) wire.LoginResponse {
	response, err := c.login(ctx, now, request, exporter)
	reason := "granted"
	if err != nil {
		var r *refusal
		if !errors.As(err, &r) {
			r = refuse(wire.LoginRetry, "internal", "the authentication service cannot decide now: try again later")
			c.log.Error("login failed", "kind", request.Subject.Kind.String(), "name", request.Subject.Name, "error", err)
		}
		reason = r.reason
		response = wire.LoginResponse{Code: r.code, Message: r.message[:min(len(r.message), wire.MaxLoginText)], ServerTime: now.Unix()}
	}
	c.metrics.logins.WithLabelValues(request.Subject.Kind.String(), credentialName(request.Credential), reason).Inc()
	c.log.Info("login", "kind", request.Subject.Kind.String(), "name", request.Subject.Name,
		"credential", credentialName(request.Credential), "outcome", reason,
		"node", identity.DevicePublic{Static: request.Static, Signing: request.Signing}.NodeID().Short())
	return response
}

func credentialName(c wire.Credential) string {
	switch c.(type) {
	case wire.CredentialToken:
		return "token"
	case wire.CredentialPassword:
		return "password"
	case wire.CredentialDeviceKey:
		return "device_key"
	case wire.CredentialAdapter:
		return "adapter"
	}
	return "none"
}

func (c *Core) login(ctx context.Context, now time.Time, request wire.LoginRequest, exporter []byte) (wire.LoginResponse, error) {
	if err := login.VerifyProofs(request, exporter); err != nil {
		return wire.LoginResponse{}, refuse(wire.LoginInvalid, "proof",
			"the proof of the key does not verify on this connection: log in again on a new one")
	}
	subject, err := c.lookup(ctx, request.Subject)
	if err != nil {
		return wire.LoginResponse{}, err
	}
	public := identity.DevicePublic{Static: request.Static, Signing: request.Signing}
	assurance, err := c.authenticate(ctx, now, subject, public, request.Credential)
	if err != nil {
		return wire.LoginResponse{}, err
	}
	// The snapshot of after the authentication, which may have waited.
	snap := c.directory.Snapshot()
	if current := snap.SubjectByUID(subject.UID); current != nil {
		subject = current
	}
	if subject.Plural == keyspace.Adapters {
		return c.grantAdapter(now, snap, subject)
	}
	return c.grant(now, snap, subject, public, assurance)
}

// lookup finds a device that may log in. One that this replica does not know
// may have been created a moment ago: before "unknown" is said the snapshot is
// brought up to date.
func (c *Core) lookup(ctx context.Context, s wire.Subject) (*replica.Subject, error) {
	ref := replica.Ref{Name: s.Name}
	switch s.Kind {
	case wire.SubjectNode:
		ref.Plural = keyspace.Nodes
	case wire.SubjectAdapter:
		ref.Plural = keyspace.Adapters
	case wire.SubjectGeneralNode:
		ref.Plural = keyspace.GeneralNodes
	default:
		return nil, refuse(wire.LoginInvalid, "kind", "unknown kind of subject")
	}
	var found *replica.Subject
	err := c.check(ctx, func(snap *replica.Snapshot) *refusal {
		if found = snap.Subject(ref); found == nil {
			return refuse(wire.LoginUnknown, "unknown_subject",
				"there is no %s %q: apply it with cyphonicctl, or correct the name in the device's configuration", s.Kind, s.Name)
		}
		if ok, why := snap.Enabled(found); !ok {
			return refuse(wire.LoginUnknown, "disabled", "%s %q cannot take part: %s", s.Kind, s.Name, why)
		}
		return nil
	})
	return found, err
}

// check evaluates a condition on the snapshot and, before it refuses, on one
// that is certainly up to date.
func (c *Core) check(ctx context.Context, condition func(*replica.Snapshot) *refusal) error {
	if condition(c.directory.Snapshot()) == nil {
		return nil
	}
	if err := c.directory.Sync(ctx); err != nil {
		c.log.Warn("desired state may be out of date", "error", err)
		return refuse(wire.LoginRetry, "stale", "the authentication service cannot read the desired state now: try again later")
	}
	if r := condition(c.directory.Snapshot()); r != nil {
		return r
	}
	return nil
}
