package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Presence tells the managers about one another through the store. While the store does not answer, what was last known holds: Prometheus
// finds out for itself which targets answer.
type Presence struct {
	store   store.Store
	id      string
	address string
	log     *slog.Logger
	known   atomic.Pointer[[]string]
}

// presenceRecord is what a manager writes about itself.
type presenceRecord struct {
	Address string `json:"address"`
}

// NewPresence returns the presence of one manager; id is unique, address is host:port at which Prometheus reaches this very manager.
func NewPresence(s store.Store, id, address string, log *slog.Logger) (*Presence, error) {
	if s == nil || id == "" || address == "" || log == nil {
		return nil, errors.New("telemetry: a presence needs a store, an id, an address and a log")
	}
	p := &Presence{store: s, id: id, address: address, log: log}
	p.known.Store(new([]string))
	return p, nil
}

// Addresses are those of all live managers, this one included; none before the store has answered for the first time.
func (p *Presence) Addresses() []string { return *p.known.Load() }

// Run says that this manager is there until ctx ends, and then that it is not.
func (p *Presence) Run(ctx context.Context) error {
	ticker := time.NewTicker(presenceInterval)
	defer ticker.Stop()
	for {
		if err := p.exchange(ctx); err != nil && ctx.Err() == nil {
			p.log.Debug("managers do not know of one another", "error", err)
		}
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), presenceInterval/5)
			defer cancel()
			if _, err := p.store.Commit(end, store.Transaction{Writes: []store.Write{store.Remove(keyspace.Manager(p.id))}}); err != nil {
				p.log.Debug("the presence of this manager ends by itself", "error", err)
			}
			return nil
		case <-ticker.C:
		}
	}
}

func (p *Presence) exchange(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, presenceInterval)
	defer cancel()
	own, err := json.Marshal(presenceRecord{Address: p.address})
	if err != nil {
		return err
	}
	if _, err := p.store.Commit(ctx, store.Transaction{Writes: []store.Write{store.PutFor(keyspace.Manager(p.id), own, presenceLife)}}); err != nil {
		return err
	}
	listing, err := p.store.List(ctx, keyspace.ManagersPrefix, store.ListOptions{Limit: maxReplicas})
	if err != nil {
		return err
	}
	addresses := []string{p.address}
	for _, e := range listing.Entries {
		var r presenceRecord
		if json.Unmarshal(e.Value, &r) == nil && r.Address != "" && !slices.Contains(addresses, r.Address) {
			addresses = append(addresses, r.Address)
		}
	}
	p.known.Store(&addresses)
	return nil
}
