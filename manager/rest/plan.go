package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/ipam"
	"github.com/cyphonic/cyphonic/manager/store"
)

// change is the write of one resource: a creation has no old, a deletion no
// new. new is completed by the commit (addresses, names, token hash).
type change struct {
	kind       api.Kind
	old, new   api.Object
	revision   int64   // of old
	statusOnly bool    // nothing but the status differs
	record     *record // of the answer, to be kept for an Idempotency-Key
}

// subject is the resource whatever happens to it.
func (c change) subject() api.Object {
	if c.new != nil {
		return c.new
	}
	return c.old
}

func (c change) owner() keyspace.Owner {
	meta := c.subject().Meta()
	return keyspace.Owner{Kind: c.kind.Plural, Name: meta.Name, UID: meta.Uid}
}

func (c change) key() string { return keyspace.Resource(c.kind.Plural, c.subject().Meta().Name) }

// plan collects the transaction of a change. blame says, by the key of a
// condition, what the client is told if the condition does not hold; a key
// that is not in blame changed meanwhile, and the plan is made again.
type plan struct {
	change
	tx     store.Transaction
	blame  map[string]func(holder string) *problem
	secret string // of a token that is created
	alloc  ipam.Change
	audit  func() []store.Write // what the audit log gets in the same transaction
	holder *keyspace.Owner      // who has what the plan wanted, if that is why it was refused
}

func (p *plan) require(c store.Condition) { p.tx.Conditions = append(p.tx.Conditions, c) }

func (p *plan) write(w ...store.Write) { p.tx.Writes = append(p.tx.Writes, w...) }

// commit plans and does a change. secret is that of a token that was created.
func (s *Server) commit(ctx context.Context, r *round, c change) (revision int64, secret string, err error) {
	p := &plan{change: c, blame: map[string]func(string) *problem{}, alloc: ipam.Change{Owner: c.owner()}}
	if c.new == nil {
		err = s.planDeletion(ctx, r, p)
	} else {
		err = s.planWrite(ctx, r, p)
	}
	if err != nil {
		return 0, "", err
	}
	p.audit = func() []store.Write {
		if s.rehearsal {
			return nil
		}
		return s.auditWrite(ctx, p.change)
	}
	revision, err = s.ipam.Commit(ctx, p.alloc, func(ipv4, ipv6 netip.Addr) (store.Transaction, error) {
		return p.finish(ipv4, ipv6)
	})
	if err != nil {
		err = p.explain(err)
		if !r.cached { // else it is tried again
			s.noticeRefusal(p, err)
		}
		return 0, "", err
	}
	s.noticeChange(p.change)
	return revision, p.secret, nil
}

// planWrite plans a creation or an update.
func (s *Server) planWrite(ctx context.Context, r *round, p *plan) error {
	if p.old == nil {
		p.require(store.Absent(p.key()))
	} else {
		p.require(store.AtRevision(p.key(), p.revision))
	}
	targets, err := s.planReferences(ctx, r, p)
	if err != nil {
		return err
	}
	if err := s.planRights(ctx, p, targets); err != nil {
		return err
	}
	switch mark, was := keyspace.Deleting(p.kind.Plural, p.new.Meta().Name), p.old != nil && cascading(p.old); {
	case cascading(p.new) && !was:
		p.write(store.Put(mark, keyspace.Encode(p.owner())))
	case was && !cascading(p.new):
		p.write(store.Remove(mark))
	}
	switch o := p.new.(type) {
	case *api.Network:
		return planNetwork(o)
	case *api.Node, *api.GeneralNode:
		return planDevice(p, targets)
	case *api.EnrollmentToken:
		return s.planToken(p, o)
	case *api.APIToken:
		return s.planAPIToken(p, o)
	}
	return nil
}

// planReferences checks that what the new specification refers to exists and
// will still exist when the change happens, and keeps the reference keys. It
// returns the resources referred to.
func (s *Server) planReferences(ctx context.Context, r *round, p *plan) (map[string]api.Object, error) {
	targets := map[string]api.Object{}
	keep := map[string]bool{}
	had := p.oldReferences()
	var faults api.FieldErrors
	for _, ref := range p.new.References() {
		kind, ok := api.KindNamed(ref.Kind)
		if !ok {
			faults = append(faults, api.FieldError{Pointer: ref.Pointer, Detail: "refers to a " + ref.Kind + ", which is no kind"})
			continue
		}
		got, err := r.load(ctx, kind, ref.Name)
		if errors.Is(err, store.ErrNotFound) || (err == nil && s.elsewhere(ctx, p, got.object)) {
			faults = append(faults, api.FieldError{Pointer: ref.Pointer, Detail: fmt.Sprintf("there is no %s named %q; create it first", ref.Kind, ref.Name)})
			continue
		}
		if err != nil {
			return nil, err
		}
		key := p.reference(kind.Plural, ref.Name)
		if deleting(got.object) && !slices.Contains(had, key) {
			return nil, refuseField(http.StatusConflict, typeDeleting, ref.Pointer, "%s %q is being deleted; choose another, or wait until it is gone and create it again", ref.Kind, ref.Name)
		}
		targets[ref.Kind] = got.object
		p.require(store.AtRevision(keyspace.Resource(kind.Plural, ref.Name), got.revision))
		keep[key] = true
	}
	if len(faults) > 0 {
		return nil, invalid(faults)
	}
	for _, key := range had {
		if !keep[key] {
			p.write(store.Remove(key))
		}
		delete(keep, key) // it is there already
	}
	for key := range keep {
		p.write(store.Put(key, keyspace.Encode(p.owner())))
	}
	return targets, nil
}

// elsewhere says that what is referred to is in another network, which makes the
// change impossible, and that who asks for it may not see it there.
func (s *Server) elsewhere(ctx context.Context, p *plan, target api.Object) bool {
	network := s.networkOfObject(ctx, target)
	return network != "" && network != s.networkOfObject(ctx, p.new) && !s.access.Decide(principalOf(ctx), s.target(ctx, access.Get, target)).Allowed
}

func (p *plan) reference(plural, name string) string {
	return keyspace.Reference(plural, name, p.kind.Plural, p.subject().Meta().Name)
}

// oldReferences are the reference keys that the old specification has.
func (p *plan) oldReferences() []string {
	if p.old == nil {
		return nil
	}
	var keys []string
	for _, r := range p.old.References() {
		if kind, ok := api.KindNamed(r.Kind); ok {
			keys = append(keys, p.reference(kind.Plural, r.Name))
		}
	}
	return keys
}

// planDeletion plans the deletion of a resource with everything that is its.
func (s *Server) planDeletion(ctx context.Context, r *round, p *plan) error {
	name := p.old.Meta().Name
	if err := s.clearTokens(ctx, r, p); err != nil {
		return err
	}
	p.require(store.AtRevision(p.key(), p.revision))
	p.require(store.AbsentBelow(keyspace.ReferencePrefix(p.kind.Plural, name)))
	p.write(store.Remove(p.key()))
	for _, key := range p.oldReferences() {
		p.write(store.Remove(key))
	}
	if cascading(p.old) {
		p.write(store.Remove(keyspace.Deleting(p.kind.Plural, name)))
	}
	switch o := p.old.(type) {
	case *api.Node, *api.GeneralNode:
		p.write(store.Remove(keyspace.Enrolled(p.kind.Plural, name)))
		return s.planRelease(ctx, r, p)
	case *api.Adapter:
		p.write(store.Remove(keyspace.Enrolled(p.kind.Plural, name)))
	case *api.EnrollmentToken:
		releaseToken(p, o)
	case *api.APIToken:
		releaseAPIToken(p, o)
	}
	return nil
}

// planRelease reads the network of a device, which exists as long as the device
// refers to it, and frees what the device holds in it.
func (s *Server) planRelease(ctx context.Context, r *round, p *plan) error {
	d, _ := deviceOf(p.old)
	got, err := r.load(ctx, kindOf(keyspace.Networks), d.network)
	if errors.Is(err, store.ErrNotFound) {
		return errChanged // the device was deleted meanwhile, and then its network
	}
	if err != nil {
		return err
	}
	return releaseDevice(p, got.object.(*api.Network))
}

// clearTokens deletes the enrolment tokens for a node or adapter that is
// deleted: they are of no use without it.
func (s *Server) clearTokens(ctx context.Context, r *round, p *plan) error {
	if p.kind.Plural != keyspace.Nodes && p.kind.Plural != keyspace.Adapters {
		return nil
	}
	tokens := kindOf(keyspace.EnrollmentTokens)
	l, err := s.store.List(ctx, keyspace.ReferencePrefix(p.kind.Plural, p.old.Meta().Name)+tokens.Plural+".", store.ListOptions{})
	if err != nil {
		return err
	}
	for _, e := range l.Entries {
		owner, err := keyspace.Decode[keyspace.Owner](e.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Key, err)
		}
		got, err := s.load(ctx, tokens, owner.Name)
		if errors.Is(err, store.ErrNotFound) {
			continue // deleted meanwhile, and its reference with it
		}
		if err != nil {
			return err
		}
		if _, _, err := s.commit(ctx, r, change{kind: tokens, old: got.object, revision: got.revision}); err != nil {
			return err
		}
	}
	return nil
}

// finish adds the resource itself, with the addresses that it got.
func (p *plan) finish(ipv4, ipv6 netip.Addr) (store.Transaction, error) {
	tx := store.Transaction{
		Conditions: append([]store.Condition(nil), p.tx.Conditions...),
		Writes:     append([]store.Write(nil), p.tx.Writes...),
	}
	if p.new != nil {
		setAddresses(p.new, ipv4, ipv6)
		value, err := encodeEntry(p.new)
		if err != nil {
			return store.Transaction{}, err
		}
		tx.Writes = append(tx.Writes, store.Put(p.key(), value))
		if p.record != nil {
			tx.Conditions = append(tx.Conditions, store.Absent(p.record.key))
			tx.Writes = append(tx.Writes, p.record.write(value))
		}
	}
	tx.Writes = append(tx.Writes, p.audit()...)
	return tx, nil
}

// explain turns the failure of a commit into what the client is told.
func (p *plan) explain(err error) error {
	var failed *store.ConditionError
	if errors.As(err, &failed) {
		if p.record != nil && failed.Condition.Key == p.record.key {
			return errAnswered
		}
		if blame, ok := p.blame[failed.Condition.Key]; ok {
			holder := "something else"
			if owner, err := keyspace.Decode[keyspace.Owner](failed.Current.Value); err == nil {
				holder, p.holder = owner.String(), &owner
			}
			return blame(holder)
		}
		return errChanged
	}
	var address *ipam.Error
	if errors.As(err, &address) {
		return addressProblem(address)
	}
	return err
}
