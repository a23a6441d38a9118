package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/enrolment"
)

// list follows the adapter's general-node list at the manager. What was last known is on disk, so that an
// adapter that starts while the manager is away serves the devices it knows.
type list struct {
	adapter string
	path    string
	apply   func(context.Context, []api.GeneralNode)
	log     *slog.Logger

	// Owned by the goroutine that follows.
	items   map[string]api.GeneralNode
	version string // resourceVersion to go on from; empty: from the beginning
}

// cachedList is the file's content.
type cachedList struct {
	Items []api.GeneralNode `json:"items"`
}

// load applies the list of the last run.
func (l *list) load(ctx context.Context) {
	l.items = make(map[string]api.GeneralNode)
	b, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var cached cachedList
	if err == nil {
		err = json.Unmarshal(b, &cached)
	}
	if err != nil {
		l.log.Warn("the general-node list of the last run is lost; waiting for the manager", "error", err)
		return
	}
	for _, g := range cached.Items {
		l.items[g.Metadata.Name] = g
	}
	l.log.Info("general-node list of the last run", "generalNodes", len(l.items))
	l.changed(ctx)
}

// follow watches until ctx ends or the manager cannot be followed any more. Whatever was received stays in effect.
func (l *list) follow(ctx context.Context, manager *client.Client) error {
	watch, err := manager.WatchAdapterGeneralNodes(ctx, l.adapter, l.version)
	if err != nil {
		return l.failed(err)
	}
	defer watch.Close()
	idle := time.AfterFunc(watchIdle, func() { _ = watch.Close() })
	defer idle.Stop()
	var fresh map[string]api.GeneralNode // the list from the beginning, until its bookmark
	if l.version == "" {
		fresh = make(map[string]api.GeneralNode)
	}
	for {
		e, err := watch.Next()
		if err != nil {
			return l.failed(err)
		}
		idle.Reset(watchIdle)
		g, ok := e.Object.(*api.GeneralNode)
		if !ok {
			return fmt.Errorf("the manager sent a %s in a list of general nodes", e.Object.KindName())
		}
		if fresh != nil {
			if e.Type != api.WatchEventTypeBOOKMARK {
				fresh[g.Metadata.Name] = *g
				continue
			}
			l.items, fresh = fresh, nil
			l.version = g.Metadata.ResourceVersion
			l.log.Info("general-node list received", "generalNodes", len(l.items))
			l.changed(ctx)
			continue
		}
		l.version = g.Metadata.ResourceVersion
		l.event(ctx, e.Type, g)
	}
}

// event takes one change; one that leaves the specification as it is (a status) is none.
func (l *list) event(ctx context.Context, kind api.WatchEventType, g *api.GeneralNode) {
	old, known := l.items[g.Metadata.Name]
	switch kind {
	case api.WatchEventTypeADDED, api.WatchEventTypeMODIFIED:
		l.items[g.Metadata.Name] = *g
		if known && old.Spec == g.Spec && old.Metadata.Uid == g.Metadata.Uid {
			return
		}
	case api.WatchEventTypeDELETED:
		if !known {
			return
		}
		delete(l.items, g.Metadata.Name)
	default:
		return
	}
	l.changed(ctx)
}

// failed begins anew where the manager has forgotten the revision.
func (l *list) failed(err error) error {
	if client.IsGone(err) {
		l.version = ""
	}
	return err
}

// changed applies the list and writes it to disk. Applying comes first: it must not wait for a disk.
func (l *list) changed(ctx context.Context) {
	items := slices.SortedFunc(maps.Values(l.items), func(a, b api.GeneralNode) int {
		return strings.Compare(a.Metadata.Name, b.Metadata.Name)
	})
	l.apply(ctx, items)
	b, err := json.Marshal(cachedList{Items: items})
	if err == nil {
		err = writeFile(l.path, b)
	}
	if err != nil {
		l.log.Warn("the general-node list was not saved", "error", err)
	}
}

// pause waits before the manager is asked again.
func pause(ctx context.Context, attempt int, err error) {
	select {
	case <-ctx.Done():
	case <-time.After(enrolment.Delay(attempt, err)):
	}
}
