package as

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// authenticate checks the credential and returns the assurance that the
// certificate may carry.
func (c *Core) authenticate(ctx context.Context, now time.Time, subject *replica.Subject,
	public identity.DevicePublic, credential wire.Credential,
) (identity.Assurance, error) {
	if adapter, ok := credential.(wire.CredentialAdapter); ok {
		return c.authenticateGeneralNode(ctx, subject, adapter)
	}
	if subject.Plural == keyspace.GeneralNodes {
		return 0, refuse(wire.LoginDenied, "credential",
			"general node %q logs in through its adapter %q only", subject.Name, subject.Adapter)
	}
	switch credential := credential.(type) {
	case wire.CredentialToken:
		return identity.AssuranceKey, c.authenticateToken(ctx, now, subject, public, credential.Token)
	case wire.CredentialPassword:
		return identity.AssuranceKey, c.authenticatePassword(ctx, now, subject, public, credential.Password)
	case wire.CredentialDeviceKey:
		return identity.AssuranceKey, c.authenticateDeviceKey(ctx, subject, public)
	}
	return 0, refuse(wire.LoginInvalid, "credential", "unknown kind of credential")
}

// authenticateToken enrols the key with a one-time token. A token that cannot
// be used any more does not matter to a device whose key is enrolled already:
// it repeats a login whose answer it may not have got.
func (c *Core) authenticateToken(ctx context.Context, now time.Time, subject *replica.Subject, public identity.DevicePublic, token string) error {
	if !strings.HasPrefix(token, identity.EnrollmentTokenPrefix) {
		return refuse(wire.LoginDenied, "token_unknown",
			"this is not an enrolment token (they begin with %s): create one with cyphonicctl token create", identity.EnrollmentTokenPrefix)
	}
	if !c.tokens.AllowN(now, 1) {
		return refuse(wire.LoginRetry, "busy", "too many enrolments at once: try again later")
	}
	err := c.directory.Enrol(ctx, replica.Enrolment{
		Subject: subject, Public: public, TokenHash: identity.HashOpaqueToken(token),
	})
	if err == nil {
		return nil
	}
	if key, ok := c.directory.Snapshot().Enrolled(subject); ok && key == public {
		return nil
	}
	return enrolRefusal(err, subject)
}

func enrolRefusal(err error, s *replica.Subject) error {
	const remedy = "create a new one with cyphonicctl token create and give it to the device"
	switch {
	case errors.Is(err, replica.ErrTokenUnknown):
		return refuse(wire.LoginDenied, "token_unknown", "the enrolment token is not known: %s", remedy)
	case errors.Is(err, replica.ErrTokenUsed):
		return refuse(wire.LoginDenied, "token_used", "the enrolment token has been used by another key: %s", remedy)
	case errors.Is(err, replica.ErrTokenExpired):
		return refuse(wire.LoginDenied, "token_expired", "the enrolment token has expired: %s", remedy)
	case errors.Is(err, replica.ErrTokenSubject):
		return refuse(wire.LoginDenied, "token_subject", "the enrolment token is not for %s %q: %s", s.Kind(), s.Name, remedy)
	case errors.Is(err, replica.ErrSubject), errors.Is(err, replica.ErrContention):
		return refuse(wire.LoginRetry, "contention", "%s %q is being changed: try again", s.Kind(), s.Name)
	}
	return err
}

// authenticatePassword checks the password and records the key, which suffices
// from then on.
func (c *Core) authenticatePassword(ctx context.Context, now time.Time, subject *replica.Subject, public identity.DevicePublic, password string) error {
	if subject.PasswordHash == "" {
		return refuse(wire.LoginDenied, "password",
			"%s %q has no password: set authentication.passwordHash (cyphonicctl hash-password) or use an enrolment token", subject.Kind(), subject.Name)
	}
	if err := c.passwords.check(ctx, now, subject, password); err != nil {
		return err
	}
	if key, ok := c.directory.Snapshot().Enrolled(subject); ok && key == public {
		return nil
	}
	if err := c.directory.Enrol(ctx, replica.Enrolment{Subject: subject, Public: public}); err != nil {
		return enrolRefusal(err, subject)
	}
	return nil
}

func (c *Core) authenticateDeviceKey(ctx context.Context, subject *replica.Subject, public identity.DevicePublic) error {
	return c.check(ctx, func(snap *replica.Snapshot) *refusal {
		if key, ok := snap.Enrolled(subject); ok && key == public {
			return nil
		}
		return refuse(wire.LoginDenied, "not_enrolled",
			"this key is not the enrolled key of %s %q: create an enrolment token with cyphonicctl token create and give it to the device",
			subject.Kind(), subject.Name)
	})
}

// authenticateGeneralNode accepts the word of the adapter that the desired
// state names for the general node, and of no other, and only if the adapter
// authenticated it by the method that the desired state demands.
func (c *Core) authenticateGeneralNode(ctx context.Context, subject *replica.Subject, credential wire.CredentialAdapter) (identity.Assurance, error) {
	if subject.Plural != keyspace.GeneralNodes {
		return 0, refuse(wire.LoginDenied, "credential", "an adapter can log in general nodes only, not %s %q", subject.Kind(), subject.Name)
	}
	var assurance identity.Assurance
	err := c.check(ctx, func(snap *replica.Snapshot) *refusal {
		current := snap.SubjectByUID(subject.UID)
		if current == nil {
			return refuse(wire.LoginUnknown, "unknown_subject", "general node %q has been deleted", subject.Name)
		}
		assurance = current.Assurance
		return checkAdapter(snap, current, credential)
	})
	return assurance, err
}

func checkAdapter(snap *replica.Snapshot, subject *replica.Subject, credential wire.CredentialAdapter) *refusal {
	adapter := snap.Subject(replica.Ref{Plural: keyspace.Adapters, Name: credential.Adapter})
	if adapter == nil {
		return refuse(wire.LoginDenied, "adapter_unknown", "there is no Adapter %q: apply it with cyphonicctl", credential.Adapter)
	}
	key, enrolled := snap.Enrolled(adapter)
	if !enrolled || key.Signing != credential.Signing {
		return refuse(wire.LoginDenied, "adapter_key",
			"the key is not the enrolled key of adapter %q: the adapter must log in itself first", adapter.Name)
	}
	if subject.Adapter != adapter.Name || subject.Network != adapter.Network {
		return refuse(wire.LoginDenied, "adapter_foreign",
			"general node %q is not assigned to adapter %q: change spec.adapter of the general node if it should be", subject.Name, adapter.Name)
	}
	if identity.Assurance(credential.Assurance) != subject.Assurance {
		return refuse(wire.LoginDenied, "assurance",
			"general node %q must be authenticated by method %s, not %s", subject.Name, subject.Assurance, identity.Assurance(credential.Assurance))
	}
	if ok, why := snap.Enabled(subject); !ok {
		return refuse(wire.LoginUnknown, "disabled", "general node %q cannot take part: %s", subject.Name, why)
	}
	return nil
}
