package rest

import (
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// planToken makes the secret of a token that is created. Only its hash is kept,
// in the resource and as an index, in the same transaction.
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
	p.require(store.Absent(keyspace.Token(hash)))
	p.write(store.Put(keyspace.Token(hash), keyspace.Encode(keyspace.TokenRecord{Name: t.Metadata.Name, UID: t.Metadata.Uid})))
	return nil
}

// releaseToken deletes the index of a token and the mark that it was used.
func releaseToken(p *plan, t *api.EnrollmentToken) {
	if t.Status.TokenHash != "" {
		p.write(store.Remove(keyspace.Token(t.Status.TokenHash)))
	}
	p.write(store.Remove(keyspace.Consumed(t.Metadata.Uid)))
}

// expire says of a token that was not used in time that it was not.
func (s *Server) expire(t *api.EnrollmentToken) {
	if t.Status.Phase == api.TokenPhasePending && !s.now().Before(t.Status.ExpirationTimestamp) {
		t.Status.Phase = api.TokenPhaseExpired
	}
}
