package rest

import (
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// planToken makes the secret of an enrolment token that is created. Only its
// hash is kept, in the resource and as an index, in the same transaction.
func (s *Server) planToken(p *plan, t *api.EnrollmentToken) error {
	if p.old != nil {
		return nil
	}
	secret, hash, err := identity.NewOpaqueToken(s.rand, identity.EnrollmentTokenPrefix)
	if err != nil {
		return err
	}
	p.secret = secret
	t.Status = api.EnrollmentTokenStatus{
		Phase: api.TokenPhasePending, TokenHash: hash,
		ExpirationTimestamp: t.Metadata.CreationTimestamp.Add(time.Duration(t.Spec.TtlSeconds) * time.Second),
	}
	p.index(keyspace.Token(hash))
	return nil
}

// planAPIToken makes the secret of an API token that is created.
func (s *Server) planAPIToken(p *plan, t *api.APIToken) error {
	if p.old != nil {
		return nil
	}
	secret, hash, err := identity.NewOpaqueToken(s.rand, identity.APITokenPrefix)
	if err != nil {
		return err
	}
	p.secret = secret
	t.Status = api.APITokenStatus{
		Phase: api.APITokenPhaseActive, TokenHash: hash,
		ExpirationTimestamp: t.Metadata.CreationTimestamp.Add(time.Duration(t.Spec.TtlSeconds) * time.Second),
	}
	p.index(keyspace.APIToken(hash))
	return nil
}

// index makes a token found by the hash of its secret.
func (p *plan) index(key string) {
	meta := p.new.Meta()
	p.require(store.Absent(key))
	p.write(store.Put(key, keyspace.Encode(keyspace.TokenRecord{Name: meta.Name, UID: meta.Uid})))
}

// releaseToken deletes the index of a token and the mark that it was used.
func releaseToken(p *plan, t *api.EnrollmentToken) {
	if t.Status.TokenHash != "" {
		p.write(store.Remove(keyspace.Token(t.Status.TokenHash)))
	}
	p.write(store.Remove(keyspace.Consumed(t.Metadata.Uid)))
}

func releaseAPIToken(p *plan, t *api.APIToken) {
	if t.Status.TokenHash != "" {
		p.write(store.Remove(keyspace.APIToken(t.Status.TokenHash)))
	}
}

// showSecret puts the secret of a token into the answer to its creation.
func showSecret(o api.Object, secret string) {
	switch o := o.(type) {
	case *api.EnrollmentToken:
		o.Status.Token = secret
	case *api.APIToken:
		o.Status.Token = secret
	}
}

// hasSecret says of a kind that the answer to its creation has a secret.
func hasSecret(o api.Object) bool {
	switch o.(type) {
	case *api.EnrollmentToken, *api.APIToken:
		return true
	}
	return false
}

// expire says of a token that was not used in time that it was not.
func (s *Server) expire(t *api.EnrollmentToken) {
	if t.Status.Phase == api.TokenPhasePending && !s.now().Before(t.Status.ExpirationTimestamp) {
		t.Status.Phase = api.TokenPhaseExpired
	}
}

// expireAPIToken says of a token whose time is over that it is.
func (s *Server) expireAPIToken(t *api.APIToken) {
	if t.Status.Phase == api.APITokenPhaseActive && !s.now().Before(t.Status.ExpirationTimestamp) {
		t.Status.Phase = api.APITokenPhaseExpired
	}
}
