package replicas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Service is the name of the manager among the services.
const Service = "manager"

// OwnOptions is what this manager says of itself.
type OwnOptions struct {
	Store     store.Store
	Name      string // unique among all replicas
	Host      string
	Version   string
	Addresses []netip.Addr         // at most one IPv4 and one IPv6
	Load      func() keyspace.Load // nil: none is known
	// OnState is told of every new state, one after the other; nil: nobody is.
	OnState func(keyspace.ReplicaState)
	Log     *slog.Logger
	Now     func() time.Time
}

// Own is the record of this manager among the live replicas. While the store does not answer nothing is lost but that others
// do not see this manager; it reports itself again as soon as it can.
type Own struct {
	options OwnOptions    // constant
	started time.Time     // constant
	asked   chan struct{} // closed when somebody asks it to drain
	changed chan struct{} // has a place: the state is to be reported

	mu    sync.Mutex
	state keyspace.ReplicaState // under mu
	since time.Time             // under mu
}

// NewOwn returns the record of a manager that is Starting.
func NewOwn(o OwnOptions) (*Own, error) {
	if _, _, ok := keyspace.ParseLive(keyspace.Live(Service, o.Name)); !ok || o.Store == nil || o.Log == nil || o.Now == nil {
		return nil, errors.New("replicas: Store, Name, Log and Now are required")
	}
	now := o.Now().UTC()
	return &Own{options: o, started: now, state: keyspace.ReplicaStarting, since: now, asked: make(chan struct{}), changed: make(chan struct{}, 1)}, nil
}

// Name is the name of the replica.
func (o *Own) Name() string { return o.options.Name }

// DrainRequested is closed when somebody asks this manager to drain.
func (o *Own) DrainRequested() <-chan struct{} { return o.asked }

// SetState says where this manager is in its life. Nothing leads back.
func (o *Own) SetState(state keyspace.ReplicaState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if rank(state) <= rank(o.state) {
		return
	}
	o.state, o.since = state, o.options.Now().UTC()
	if o.options.OnState != nil {
		o.options.OnState(state)
	}
	select {
	case o.changed <- struct{}{}:
	default: // it is to be reported already
	}
}

// rank is the place of a state in a life.
func rank(state keyspace.ReplicaState) int {
	switch state {
	case keyspace.ReplicaReady:
		return 1
	case keyspace.ReplicaLeaving:
		return 2
	case keyspace.ReplicaFinishing:
		return 3
	}
	return 0
}

// Run reports this manager until ctx ends, and then removes its record.
func (o *Own) Run(ctx context.Context) error {
	ticker := time.NewTicker(ownInterval)
	defer ticker.Stop()
	asked, appeared := o.asked, int64(0)
	for look := 0; ; look++ {
		if look%reportEvery == 0 {
			o.attempt(ctx, "is not seen by others", func(ctx context.Context) error {
				revision, err := o.report(ctx)
				if err == nil && appeared == 0 {
					appeared = revision
				}
				return err
			})
		}
		if asked != nil && appeared > 0 {
			o.attempt(ctx, "does not know whether it shall drain", func(ctx context.Context) error {
				drain, err := o.drain(ctx, appeared)
				if drain {
					close(asked)
					asked = nil
				}
				return err
			})
		}
		select {
		case <-ctx.Done():
			o.leave(ctx)
			return nil
		case <-o.changed:
			look = -1
		case <-ticker.C:
		}
	}
}

func (o *Own) attempt(outer context.Context, without string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(outer, ownLife)
	defer cancel()
	if err := f(ctx); err != nil && outer.Err() == nil {
		o.options.Log.Debug("this manager "+without, "err", err)
	}
}

func (o *Own) report(ctx context.Context) (revision int64, err error) {
	value, err := json.Marshal(o.record())
	if err != nil {
		return 0, fmt.Errorf("encode the record of this manager: %w", err)
	}
	return o.options.Store.Commit(ctx, store.Transaction{Writes: []store.Write{store.PutFor(o.key(), value, ownLife)}})
}

func (o *Own) record() keyspace.ReplicaRecord {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := keyspace.ReplicaRecord{
		Name: o.options.Name, Service: Service, Host: o.options.Host, Version: o.options.Version, State: o.state, Since: o.since,
		Started: o.started, Addresses: o.options.Addresses,
	}
	if o.options.Load != nil {
		r.Load = o.options.Load()
	}
	return r
}

func (o *Own) key() string { return keyspace.Live(Service, o.options.Name) }

// drain says whether this manager was asked to drain since it appeared: what was asked of an earlier one of its name does not count.
func (o *Own) drain(ctx context.Context, appeared int64) (bool, error) {
	key := keyspace.Drain(Service, o.options.Name)
	e, err := o.options.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil || e.Revision < appeared {
		return false, err
	}
	var asked keyspace.DrainRecord
	if err := json.Unmarshal(e.Value, &asked); err != nil {
		return false, fmt.Errorf("decode %s: %w", key, err)
	}
	o.options.Log.Info("this manager was asked to drain", "by", asked.By)
	return true, nil
}

// leave removes the record, and with it the wish that it drain.
func (o *Own) leave(ctx context.Context) {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastReport)
	defer cancel()
	writes := []store.Write{store.Remove(o.key()), store.Remove(keyspace.Drain(Service, o.options.Name))}
	if _, err := o.options.Store.Commit(end, store.Transaction{Writes: writes}); err != nil {
		o.options.Log.Debug("the record of this manager ends by itself", "err", err)
	}
}
