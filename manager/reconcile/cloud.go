package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/replicas"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Cloud keeps the status of BGP peers, BGP advertisements and cloud services
// true: what speakers and replicas report of themselves. writer speaks to the
// API as the system.
func Cloud(v View, s store.Store, writer *client.Client, log *slog.Logger, now func() time.Time) Work {
	return Work{"cloud", func(ctx context.Context, _ store.Leadership) error {
		select {
		case <-ctx.Done():
			return nil
		case <-v.Ready():
		}
		c := &cloud{view: v, store: s, writer: writer, log: log, now: now}
		for ctx.Err() == nil {
			if err := c.pass(ctx); err != nil {
				return err
			}
			pause(ctx, cloudInterval)
		}
		return nil
	}}
}

// cloud is one term's work. It belongs to one goroutine.
type cloud struct {
	view   View
	store  store.Store
	writer *client.Client
	log    *slog.Logger
	now    func() time.Time
	left   int // statuses that may still be written in this pass
}

func (c *cloud) pass(ctx context.Context) error {
	r, err := c.reported(ctx)
	if err != nil {
		return err
	}
	c.left = maxCloudWrites
	for _, p := range r.peers {
		status := r.peerStatus(p)
		status.Conditions, _ = merge(p.Status.Conditions, r.established(p, status.Sessions), c.now())
		if err := c.write(ctx, p, &p.Status, status); err != nil {
			return err
		}
	}
	for _, a := range r.advertisements {
		status := r.advertisementStatus(a)
		status.Conditions, _ = merge(a.Status.Conditions, r.announced(a, status.Prefixes), c.now())
		if err := c.write(ctx, a, &a.Status, status); err != nil {
			return err
		}
	}
	for _, s := range r.services {
		status := r.serviceStatus(s)
		status.Conditions = s.Status.Conditions
		if err := c.write(ctx, s, &s.Status, status); err != nil {
			return err
		}
	}
	return nil
}

// reported reads what there shall be and what is said of it.
func (c *cloud) reported(ctx context.Context) (report, error) {
	state, err := replicas.List(ctx, c.store, 0)
	if err != nil {
		return report{}, fmt.Errorf("read the replicas: %w", err)
	}
	speakers, err := replicas.Speakers(ctx, c.store)
	if err != nil {
		return report{}, fmt.Errorf("read what the speakers report: %w", err)
	}
	r := report{
		peers:          readAll[api.BGPPeer](c.view.View(keyspace.BGPPeers)),
		advertisements: readAll[api.BGPAdvertisement](c.view.View(keyspace.BGPAdvertisements)),
		services:       readAll[api.CloudService](c.view.View(keyspace.CloudServices)),
		speakers:       speakers, ready: map[string]int64{},
	}
	for _, replica := range state.Replicas {
		if replica.Record.State == keyspace.ReplicaReady {
			r.ready[replica.Record.Service]++
		}
	}
	return r, nil
}

// readAll decodes the resources of a kind that are to stay.
func readAll[T any, P interface {
	*T
	api.Object
}](v cache.View) (all []P) {
	v.Ascend("", func(i *cache.Item) bool {
		o := P(new(T))
		if json.Unmarshal(i.Value, o) == nil && o.Meta().DeletionTimestamp.IsZero() {
			o.Meta().ResourceVersion = fmt.Sprint(i.Revision)
			all = append(all, o)
		}
		return true
	})
	return all
}

// write makes the status of a resource another one if it says anything new. If
// the resource has changed meanwhile the next pass looks at it again.
func (c *cloud) write(ctx context.Context, o api.Object, status, wanted any) error {
	if ctx.Err() != nil || c.left <= 0 {
		return nil
	}
	was, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("encode the status of %s %s: %w", o.KindName(), o.Meta().Name, err)
	}
	is, err := json.Marshal(wanted)
	if err != nil {
		return fmt.Errorf("encode the status of %s %s: %w", o.KindName(), o.Meta().Name, err)
	}
	if bytes.Equal(was, is) {
		return nil
	}
	switch o := o.(type) {
	case *api.BGPPeer:
		o.Status = wanted.(api.BGPPeerStatus)
	case *api.BGPAdvertisement:
		o.Status = wanted.(api.BGPAdvertisementStatus)
	case *api.CloudService:
		o.Status = wanted.(api.CloudServiceStatus)
	}
	c.left--
	_, err = c.writer.PutStatus(ctx, o)
	switch code := client.StatusOf(err); {
	case err == nil, ctx.Err() != nil, code == http.StatusNotFound, code == http.StatusConflict, code == http.StatusPreconditionFailed:
		return nil
	case code == http.StatusBadRequest:
		c.log.Warn("a status cannot be written", "kind", o.KindName(), "name", o.Meta().Name, "err", err)
		return nil
	}
	return fmt.Errorf("write the status of %s %s: %w", o.KindName(), o.Meta().Name, err)
}
