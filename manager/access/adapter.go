package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// adapterTokens opens the access tokens that the AS gives to adapters.
type adapterTokens struct {
	store store.Store
	now   func() time.Time

	mu    sync.Mutex
	keys  identity.Keyring // under mu
	dueAt time.Time        // under mu: when the keys have to be read again; zero: they never were
}

// principal opens a token. Whether its adapter still exists is another question.
func (t *adapterTokens) principal(ctx context.Context, token string) (Principal, error) {
	ring, err := t.ring(ctx)
	if err != nil {
		return Principal{}, err
	}
	claims, err := identity.OpenAccessToken(ring, token, t.now())
	if err != nil {
		return Principal{}, fmt.Errorf("%w: %w", errWrong, err)
	}
	if claims.Kind != "Adapter" || claims.Name == "" {
		return Principal{}, fmt.Errorf("%w: it is of %s %q, not of an adapter", errWrong, claims.Kind, claims.Name)
	}
	return Principal{Kind: Adapter, Name: claims.Name, UID: claims.UID, NotAfter: claims.NotAfter}, nil
}

// ring returns the keys, read from the store if the last time is too long ago. While the store does not answer, the keys of the last
// time go on to be used: adapters read their lists from the cache meanwhile.
func (t *adapterTokens) ring(ctx context.Context) (identity.Keyring, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, known := t.now(), !t.dueAt.IsZero()
	if known && now.Before(t.dueAt) && t.dueAt.Sub(now) <= keyringAge {
		return t.keys, nil
	}
	ring, err := t.read(ctx, now)
	switch {
	case err == nil:
		t.keys, t.dueAt = ring, now.Add(keyringAge)
	case known && errors.Is(err, store.ErrUnavailable):
		t.dueAt = now.Add(keyringRetry)
	default:
		return identity.Keyring{}, err
	}
	return t.keys, nil
}

func (t *adapterTokens) read(ctx context.Context, now time.Time) (identity.Keyring, error) {
	ctx, cancel := context.WithTimeout(ctx, freshTimeout)
	defer cancel()
	l, err := t.store.List(ctx, keyspace.KeyPrefix(keyspace.PurposeAccess), store.ListOptions{})
	if errors.Is(err, context.DeadlineExceeded) {
		return identity.Keyring{}, fmt.Errorf("read the access keys: %w: %w", store.ErrUnavailable, err)
	}
	if err != nil {
		return identity.Keyring{}, fmt.Errorf("read the access keys: %w", err)
	}
	var records []keyspace.KeyRecord
	for _, e := range l.Entries {
		r, err := keyspace.Decode[keyspace.KeyRecord](e.Value)
		if err != nil {
			return identity.Keyring{}, fmt.Errorf("%s: %w", e.Key, err)
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		return identity.Keyring{}, fmt.Errorf("read the access keys: there are none: %w", store.ErrUnavailable)
	}
	var ring identity.Keyring
	for i, r := range keyspace.Order(records, now) {
		key := identity.SealingKey{ID: r.ID, Key: [32]byte(r.Secret)}
		if i == 0 {
			ring.Current = key
		} else {
			ring.Previous = append(ring.Previous, key)
		}
	}
	return ring, nil
}

// checkAdapter refuses an adapter that does not exist any more, is another one of the same name, or is disabled.
func (a *Access) checkAdapter(p Principal) error {
	item, ok := a.cache.View(keyspace.Adapters).Get(p.Name)
	if !ok {
		return &Refusal{Reason: ReasonGone, Detail: fmt.Sprintf("adapter %s does not exist any more", p.Name)}
	}
	var adapter struct {
		Metadata struct {
			Uid string `json:"uid"`
		} `json:"metadata"`
		Spec struct {
			Disabled bool `json:"disabled"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(item.Value, &adapter); err != nil {
		return fmt.Errorf("decode adapter %s: %w", p.Name, err)
	}
	switch {
	case adapter.Metadata.Uid != p.UID:
		return &Refusal{Reason: ReasonGone, Detail: fmt.Sprintf("adapter %s was deleted and created again; enrol it with a new token", p.Name)}
	case adapter.Spec.Disabled:
		return &Refusal{Reason: ReasonDisabled, Detail: fmt.Sprintf("adapter %s is disabled", p.Name)}
	}
	return nil
}
