package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/policy"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/store"
)

// views are the resources of the cache by plural, as they were at one moment.
type views map[string]cache.View

func (s *Server) views() views {
	out := views{}
	for _, kind := range api.Kinds() {
		if !kind.ReadOnly {
			out[kind.Plural] = s.cache.View(kind.Plural)
		}
	}
	return out
}

// labelled lists the resources of a kind that have a label.
func (v views) labelled(kind api.Kind, label, value string) []*cache.Item {
	var out []*cache.Item
	v[kind.Plural].Ascend("", func(i *cache.Item) bool {
		if got, ok := i.Labels[label]; ok && got == value {
			out = append(out, i)
		}
		return true
	})
	return out
}

// viewStore is a store as it was at one moment, for one plan: resources are
// read from views, and what has to be read from the store is read once. It is
// safe for concurrent use: the overlay above it reads several keys at once.
type viewStore struct {
	store.Store
	views    views
	revision int64
	mu       *sync.Mutex
	read     map[string]store.Entry // under mu, by key; without Key: there is none
}

// snapshot is the store as the cache shows it, for a plan.
func (s *Server) snapshot() viewStore {
	v := viewStore{Store: s.store, views: s.views(), mu: new(sync.Mutex), read: map[string]store.Entry{}}
	for _, view := range v.views {
		v.revision = max(v.revision, view.Revision())
	}
	return v
}

// Get reads one key.
func (s viewStore) Get(ctx context.Context, key string) (store.Entry, error) {
	plural, name, ok := keyspace.ParseResource(key)
	if view, known := s.views[plural]; ok && known {
		i, ok := view.Get(name)
		if !ok {
			return store.Entry{}, fmt.Errorf("get %s: %w", key, store.ErrNotFound)
		}
		return store.Entry{Key: key, Value: bytes.Clone(i.Value), CreateRevision: i.CreateRevision, Revision: i.Revision}, nil
	}
	s.mu.Lock()
	e, ok := s.read[key]
	s.mu.Unlock()
	if !ok {
		var err error
		if e, err = s.Store.Get(ctx, key); err != nil && !errors.Is(err, store.ErrNotFound) {
			return store.Entry{}, err
		}
		s.mu.Lock()
		s.read[key] = e
		s.mu.Unlock()
	}
	if e.Key == "" {
		return store.Entry{}, fmt.Errorf("get %s: %w", key, store.ErrNotFound)
	}
	e.Value = bytes.Clone(e.Value)
	return e, nil
}

// Revision is that of the moment.
func (s viewStore) Revision(context.Context) (int64, error) { return s.revision, nil }

// reachability compares who may open flows to whom before and after the plan.
func (p *planner) reachability(ctx context.Context) api.ReachabilityDifference {
	changes, relevant := p.policyChanges()
	if !relevant {
		return api.ReachabilityDifference{}
	}
	world := policy.World{Policies: p.policies(), Devices: p.devices()}
	changes.Policies = p.policiesAfter(world.Policies)
	diff := policy.Difference(world, changes).Answer()
	p.hideNames(ctx, diff.Gained)
	p.hideNames(ctx, diff.Lost)
	return diff
}

// hideNames leaves only the kind of the devices that who asks may not see: who
// may change the policies of a network need not know its devices.
func (p *planner) hideNames(ctx context.Context, changes []api.ReachabilityChange) {
	for i := range changes {
		for _, name := range []*string{&changes[i].From, &changes[i].To} {
			word, device, _ := strings.Cut(*name, "/")
			if kind, known := deviceKind(word); known && !p.maySee(ctx, kind, device) {
				*name = word + "/" + unseen
			}
		}
	}
}

// unseen stands for the name of a device that may not be seen.
const unseen = "(hidden)"

// maySee says whether a device may be seen, as it was or as it would be.
func (p *planner) maySee(ctx context.Context, kind api.Kind, name string) bool {
	network := ""
	if item, ok := p.views[kind.Plural].Get(name); ok {
		network = item.Network
	} else if d, ok := deviceOf(p.changed[objectKey{kind.Name, name}]); ok {
		network = d.network
	}
	who := principalOf(ctx)
	return p.server.access.Decide(who, access.Target{Verb: access.Get, Kind: kind.Name, Network: network}).Allowed ||
		p.server.access.Decide(who, access.Target{Verb: access.Get, Kind: access.KindReachability, Network: network}).Allowed
}

// policyChanges are the devices that are others than before; relevant says
// whether any device or policy is.
func (p *planner) policyChanges() (changes policy.Changes, relevant bool) {
	for key, o := range p.changed {
		switch key.kind {
		case "AccessPolicy":
			relevant = true
		case "Node", "GeneralNode":
			relevant = true
			if subject, ok := policy.SubjectOf(o); ok && !deleting(o) {
				changes.Devices = append(changes.Devices, subject)
			} else {
				changes.Gone = append(changes.Gone, policy.ID{Kind: key.kind, Name: key.name})
			}
		}
	}
	return changes, relevant
}

func (p *planner) policies() (list []*api.AccessPolicy) {
	p.views[keyspace.AccessPolicies].Ascend("", func(i *cache.Item) bool {
		o := new(api.AccessPolicy)
		if json.Unmarshal(i.Value, o) == nil {
			list = append(list, o)
		}
		return true
	})
	return list
}

func (p *planner) policiesAfter(before []*api.AccessPolicy) (list []*api.AccessPolicy) {
	for _, o := range before {
		if _, changed := p.changed[objectKey{"AccessPolicy", o.Metadata.Name}]; !changed {
			list = append(list, o)
		}
	}
	for key, o := range p.changed {
		if after, ok := o.(*api.AccessPolicy); ok && key.kind == "AccessPolicy" {
			list = append(list, after)
		}
	}
	return list
}

// devices are the devices of the views. None is decoded: what policies look at
// is in the items.
func (p *planner) devices() iter.Seq[policy.Subject] {
	return func(yield func(policy.Subject) bool) {
		for _, kind := range []api.Kind{kindOf(keyspace.Nodes), kindOf(keyspace.GeneralNodes)} {
			more := true
			p.views[kind.Plural].Ascend("", func(i *cache.Item) bool {
				if !i.Off {
					more = yield(subjectOf(kind.Name, i))
				}
				return more
			})
			if !more {
				return
			}
		}
	}
}

// subjectOf is policy.SubjectOf for an item of the cache.
func subjectOf(kind string, i *cache.Item) policy.Subject {
	s := policy.Subject{Kind: kind, Name: i.Name, Network: i.Network, Labels: i.Labels, Assurance: identity.AssuranceKey}
	if kind != "GeneralNode" {
		return s
	}
	assurance, err := identity.ParseAssurance(i.Method)
	if err != nil {
		assurance = identity.AssuranceMAC
	}
	s.Assurance = assurance
	return s
}
