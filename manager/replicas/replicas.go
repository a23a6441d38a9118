// Package replicas shows what live replicas of the services say of themselves as resources, asks them to drain, and says
// the same of this manager, which is one of them.
//
// replicas.go reads, speakers.go too, watch.go follows, drain.go asks, own.go is this manager's own record. The package must not know HTTP
// or etcd, nor what a service does.
package replicas

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// ErrAmbiguous says that replicas of two services have the same name.
var ErrAmbiguous = errors.New("two replicas have the same name")

// Replica is a live replica.
type Replica struct {
	Record   keyspace.ReplicaRecord
	Drain    keyspace.DrainRecord // zero: nobody asked it to drain
	Revision int64                // at which it said so
	appeared int64                // revision at which it was there first
}

// State is the replicas of one revision.
type State struct {
	Replicas []Replica // by name
	Revision int64
	// Malformed is how many records were left out because they could not be read.
	Malformed int
}

// List reads all live replicas; revision 0 is now.
func List(ctx context.Context, s store.Store, revision int64) (State, error) {
	live, err := s.List(ctx, keyspace.LivePrefix, store.ListOptions{Revision: revision, Limit: maxReplicas})
	if err != nil {
		return State{}, err
	}
	drains, err := s.List(ctx, keyspace.DrainPrefix, store.ListOptions{Revision: live.Revision, Limit: maxReplicas})
	if err != nil {
		return State{}, err
	}
	asked := drainsOf(drains.Entries)
	state := State{Revision: live.Revision}
	for _, e := range live.Entries {
		r, ok := decode(e)
		if !ok {
			state.Malformed++
			continue
		}
		state.Replicas = append(state.Replicas, asked.join(r))
	}
	slices.SortFunc(state.Replicas, func(a, b Replica) int {
		return cmp.Or(strings.Compare(a.Record.Name, b.Record.Name), strings.Compare(a.Record.Service, b.Record.Service))
	})
	return state, nil
}

// Get reads the replica of a name: store.ErrNotFound if there is none, ErrAmbiguous if there are two.
func Get(ctx context.Context, s store.Store, name string) (Replica, error) {
	if name == "" || strings.Contains(name, "/") {
		return Replica{}, fmt.Errorf("replica %q: %w", name, store.ErrNotFound)
	}
	state, err := List(ctx, s, 0)
	if err != nil {
		return Replica{}, err
	}
	named := slices.DeleteFunc(state.Replicas, func(r Replica) bool { return r.Record.Name != name })
	switch len(named) {
	case 0:
		return Replica{}, fmt.Errorf("replica %q: %w", name, store.ErrNotFound)
	case 1:
		return named[0], nil
	}
	return Replica{}, fmt.Errorf("replica %q: %w: one of %s, one of %s", name, ErrAmbiguous, named[0].Record.Service, named[1].Record.Service)
}

// Decode reads the record of a replica; ok is false if it is not one, or that of another key.
func Decode(key string, value []byte) (keyspace.ReplicaRecord, bool) {
	service, name, ok := keyspace.ParseLive(key)
	var record keyspace.ReplicaRecord
	if !ok || json.Unmarshal(value, &record) != nil {
		return keyspace.ReplicaRecord{}, false
	}
	return record, record.Name == name && record.Service == service
}

func decode(e store.Entry) (Replica, bool) {
	record, ok := Decode(e.Key, e.Value)
	return Replica{Record: record, Revision: e.Revision, appeared: e.CreateRevision}, ok
}

// wish is that a replica drain.
type wish struct {
	record   keyspace.DrainRecord
	revision int64 // at which it was made
}

// drains is who was asked to drain, by the key of the live record.
type drains map[string]wish

func drainsOf(entries []store.Entry) drains {
	asked := drains{}
	for _, e := range entries {
		asked.put(e)
	}
	return asked
}

func (d drains) put(e store.Entry) {
	service, name, ok := keyspace.ParseDrain(e.Key)
	var record keyspace.DrainRecord
	if ok && json.Unmarshal(e.Value, &record) == nil {
		d[keyspace.Live(service, name)] = wish{record, e.Revision}
	}
}

func (d drains) remove(key string) {
	if service, name, ok := keyspace.ParseDrain(key); ok {
		delete(d, keyspace.Live(service, name))
	}
}

// join adds whether the replica was asked to drain. What was asked of an earlier one of its name, whose record it may have taken over, does
// not count.
func (d drains) join(r Replica) Replica {
	asked := d[keyspace.Live(r.Record.Service, r.Record.Name)]
	if asked.revision > r.appeared && !asked.record.Requested.Before(r.Record.Started) {
		r.Drain = asked.record
	}
	return r
}

// Resource is the replica as the API shows it.
func (r Replica) Resource() *api.Replica {
	out := new(api.Replica)
	out.SetType()
	record := r.Record
	identity := sha256.Sum256([]byte(record.Service + "\x00" + record.Name + "\x00" + record.Started.UTC().Format(time.RFC3339Nano)))
	out.Metadata = api.ObjectMeta{
		Name: record.Name, Uid: hex.EncodeToString(identity[:8]), ResourceVersion: strconv.FormatInt(r.Revision, 10),
		CreationTimestamp: record.Started, UpdateTimestamp: record.Since,
	}
	out.Spec = api.ReplicaSpec{Service: api.ServiceName(record.Service), Host: record.Host}
	out.Status = api.ReplicaStatus{
		State: api.ReplicaState(record.State), Since: record.Since, Started: record.Started, Version: record.Version,
		Load: api.ReplicaLoad{
			Cpu: record.Load.CPU, MemoryBytes: record.Load.Memory, RequestsPerSecond: record.Load.Requests, Sessions: int64(record.Load.Sessions),
		},
		DrainRequested: r.Drain.Requested, DrainRequestedBy: r.Drain.By,
	}
	for _, a := range record.Addresses {
		out.Status.Addresses = append(out.Status.Addresses, a.String())
	}
	for _, a := range record.Advertised {
		out.Status.Advertised = append(out.Status.Advertised, a.String())
	}
	return out
}
