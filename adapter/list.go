package adapter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/enrolment"
)

// list follows the adapter's general-node list at the manager. What was last known is on disk, so that an
// adapter that starts while the manager is away serves the devices it knows.
type list struct {
	adapter   string
	file      *listFile
	apply     func(context.Context, []api.GeneralNode)
	confirmed *atomic.Int64 // when the manager last confirmed what is in effect, in Unix seconds; 0: never
	now       func() time.Time
	log       *slog.Logger

	// Owned by the goroutine that follows.
	items   map[string]api.GeneralNode
	version string    // resourceVersion to go on from; empty: from the beginning
	saved   time.Time // the time in the file
}

// load applies the list of the last run.
func (l *list) load(ctx context.Context) {
	l.items = make(map[string]api.GeneralNode)
	saved, err := l.file.read()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.log.Error("the general-node list of the last run is not used: the adapter waits for the manager", "file", l.file.path(listName), "error", err)
		return
	}
	for _, g := range saved.items {
		l.items[g.Metadata.Name] = g
	}
	age := max(0, l.now().Sub(saved.confirmed)).Truncate(time.Second)
	level := slog.LevelInfo
	if age > listFresh {
		level = slog.LevelWarn
	}
	l.log.Log(ctx, level, "general-node list of the last run", "generalNodes", len(l.items), "age", age, "migrated", saved.migrated)
	l.saved = saved.confirmed
	l.confirmed.Store(saved.confirmed.Unix())
	l.apply(ctx, l.sorted())
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
			l.confirmed.Store(l.now().Unix())
			l.log.Info("general-node list received", "generalNodes", len(l.items))
			l.changed(ctx)
			continue
		}
		l.heard(ctx, e.Type, g)
	}
}

// heard takes an event or bookmark, each of which confirms the list.
func (l *list) heard(ctx context.Context, kind api.WatchEventType, g *api.GeneralNode) {
	l.version = g.Metadata.ResourceVersion
	l.confirmed.Store(l.now().Unix())
	l.event(ctx, kind, g)
	if l.now().Sub(l.saved) > listTouch {
		l.save()
	}
}

// event takes one change; one that leaves the specification as it is (a status) is none.
func (l *list) event(ctx context.Context, kind api.WatchEventType, g *api.GeneralNode) {
	old, known := l.items[g.Metadata.Name]
	switch kind {
	case api.WatchEventTypeADDED, api.WatchEventTypeMODIFIED:
		l.items[g.Metadata.Name] = *g
		if known && old.Spec == g.Spec && old.Metadata.Uid == g.Metadata.Uid && old.Metadata.Generation == g.Metadata.Generation {
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
	l.apply(ctx, l.sorted())
	l.save()
}

func (l *list) sorted() []api.GeneralNode {
	return slices.SortedFunc(maps.Values(l.items), func(a, b api.GeneralNode) int {
		return strings.Compare(a.Metadata.Name, b.Metadata.Name)
	})
}

func (l *list) save() {
	now := l.now()
	if err := l.file.write(l.sorted(), now); err != nil {
		l.log.Warn("the general-node list was not saved", "error", err)
		return
	}
	l.saved = now
}

// ageWarning says how old the list in effect is where that is worth a warning; else it is empty.
func ageWarning(confirmed int64, now time.Time) string {
	age := now.Sub(time.Unix(confirmed, 0))
	if confirmed == 0 || age <= listFresh {
		return ""
	}
	return fmt.Sprintf("the general-node list was last confirmed %d hours ago", int(age.Hours()))
}

// pause waits before the manager is asked again.
func pause(ctx context.Context, attempt int, err error) {
	select {
	case <-ctx.Done():
	case <-time.After(enrolment.Delay(attempt, err)):
	}
}
