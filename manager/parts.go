package manager

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/uuid"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/audit"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/events"
	"github.com/cyphonic/cyphonic/manager/fence"
	"github.com/cyphonic/cyphonic/manager/gitsync"
	"github.com/cyphonic/cyphonic/manager/inprocess"
	"github.com/cyphonic/cyphonic/manager/reconcile"
	"github.com/cyphonic/cyphonic/manager/replicas"
	"github.com/cyphonic/cyphonic/manager/rest"
	"github.com/cyphonic/cyphonic/manager/schema"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/telemetry"
)

// assemble makes the parts of a manager in the order of their dependence.
// address is where others reach it.
func assemble(o Options, address string) (parts, error) {
	p := parts{store: fence.New(o.Store)}
	var errs [5]error
	p.cache, errs[0] = cache.New(cache.Options{Store: o.Store, Log: o.Log, Registerer: o.Registerer, Now: o.Now})
	p.audit, errs[1] = audit.New(audit.Options{Store: p.store, Log: o.Log, Registerer: o.Registerer, Now: o.Now, Limits: o.AuditLimits})
	p.events, errs[2] = events.NewRecorder(events.Options{Store: p.store, Source: "manager", Registerer: o.Registerer, Log: o.Log, Now: o.Now})
	id := uuid.NewString()
	p.presence, errs[3] = telemetry.NewPresence(o.Store, id, address, o.Log)
	p.own, errs[4] = ownReplica(o)
	if err := errors.Join(errs[:]...); err != nil {
		return p, err
	}
	p.telemetry, errs[0] = telemetry.New(telemetry.Options{
		Incarnation: func(adapter string) (int64, bool) {
			item, ok := p.cache.View(keyspace.Adapters).Get(adapter)
			if !ok {
				return 0, false
			}
			return item.CreateRevision, true
		},
		Replicas: p.presence.Addresses, Adapters: func() int { return p.cache.View(keyspace.Adapters).Len() },
		Log: o.Log, Registerer: o.Registerer, Now: o.Now,
	})
	rights, err := access.New(access.Options{
		Cache: p.cache, Store: p.store, AdminTokenHash: o.AdminTokenHash, OIDC: o.OIDC, Log: o.Log, Registerer: o.Registerer, Now: o.Now,
	})
	if err := errors.Join(errs[0], err); err != nil {
		return p, err
	}
	p.rest, err = rest.New(rest.Options{
		Store: p.store, Cache: p.cache, Access: rights, Audit: p.audit, Events: p.events, Telemetry: p.telemetry,
		Registerer: o.Registerer, Gatherer: o.Gatherer, Log: o.Log, Rand: o.Rand, Now: o.Now,
	})
	if err != nil {
		return p, err
	}
	p.handler = p.rest.Handler()
	p.gate = &gate{inner: p.handler}
	p.holder = id + " at " + address
	p.office, err = p.leaderWork(o)
	return p, err
}

// ownReplica is what this manager says of itself.
func ownReplica(o Options) (*replicas.Own, error) {
	r := o.Replica
	if r.Name == "" {
		var random [8]byte
		if _, err := io.ReadFull(o.Rand, random[:]); err != nil {
			return nil, fmt.Errorf("read random bytes for a name: %w", err)
		}
		r.Name = replicas.Service + "-" + hex.EncodeToString(random[:])
	}
	if r.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("the system does not say its name: %w", err)
		}
		r.Host = strings.ToLower(host)
	}
	return replicas.NewOwn(replicas.OwnOptions{
		Store: o.Store, Name: r.Name, Host: r.Host, Version: r.Version, Addresses: r.Addresses, Load: r.Load, OnState: r.OnState, Log: o.Log, Now: o.Now,
	})
}

// leaderWork is what only one of all managers does.
func (p parts) leaderWork(o Options) (*reconcile.Office, error) {
	api := inprocess.API{Handler: p.handler, As: rest.WithPrincipal}
	syncer, err := gitsync.New(gitsync.Options{
		Cache: p.cache, API: api, SecretsDirectory: o.SecretsDirectory, Events: p.events, Registerer: o.Registerer, Log: o.Log, Now: o.Now,
	})
	if err != nil {
		return nil, err
	}
	return reconcile.New(reconcile.Options{
		Store: o.Store, Holder: p.holder, Log: o.Log, Registerer: o.Registerer,
		First: func(ctx context.Context, _ store.Leadership) error {
			_, err := schema.Read(ctx, o.Store) // a newer manager may have taken the database over
			return err
		},
		Works: []reconcile.Work{
			{Name: "audit", Run: p.audit.RunChain},
			reconcile.Deletions(p.rest, o.Log),
			reconcile.Conditions(p.cache, api.Client(access.ForSystem("conditions")), o.Log, o.Now),
			reconcile.Cloud(p.cache, p.store, api.Client(access.ForSystem("cloud")), o.Log, o.Now),
			reconcile.Alone("git", syncer.Run),
			reconcile.Alone("tokens", events.Tokens{Cache: p.cache, Recorder: p.events, Now: o.Now}.Run),
		},
	})
}
