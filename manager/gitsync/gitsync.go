package gitsync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/events"
	"github.com/cyphonic/cyphonic/manager/inprocess"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Options is what a Syncer needs; only Events and SecretsDirectory may be left
// out.
type Options struct {
	Cache *cache.Cache
	API   inprocess.API
	// SecretsDirectory has a folder of credentials for each secretName.
	SecretsDirectory string
	Events           *events.Recorder
	Registerer       prometheus.Registerer
	Log              *slog.Logger
	Now              func() time.Time
}

// Syncer follows all git sources.
type Syncer struct {
	options Options
	metrics *metrics
	turns   chan struct{} // held by rounds
	census  *census
	// interval is that of a source and retry is firstRetry; tests shorten them.
	interval func(*api.GitSource) time.Duration
	retry    time.Duration

	workers map[string]*running // owned by Run
	left    map[string]bool     // owned by Run: sources that are not followed
}

// running is a worker with its end.
type running struct {
	*worker
	generation int64
	end        context.CancelFunc
}

// New returns a syncer and registers its metrics.
func New(o Options) (*Syncer, error) {
	if o.Cache == nil || o.API.Handler == nil || o.API.As == nil || o.Registerer == nil || o.Log == nil || o.Now == nil {
		return nil, errors.New("gitsync: Cache, API, Registerer, Log and Now are required")
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	return &Syncer{
		options: o, metrics: m, census: &census{view: o.Cache.View, now: o.Now, age: censusInterval}, turns: make(chan struct{}, maxRounds), workers: map[string]*running{}, left: map[string]bool{}, retry: firstRetry,
		interval: func(source *api.GitSource) time.Duration {
			return time.Duration(source.Spec.IntervalSeconds) * time.Second
		},
	}, nil
}

// Run follows the git sources until ctx ends. It may be run again afterwards,
// but not twice at the same time: only the leader of all managers runs it.
func (s *Syncer) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.options.Cache.Ready():
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
		clear(s.workers)
		clear(s.left)
	}()
	for ctx.Err() == nil {
		err := s.follow(ctx, &wg)
		if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrCompacted) {
			return fmt.Errorf("follow the git sources: %w", err)
		}
	}
	return nil
}

// follow starts and ends workers as sources come and go.
func (s *Syncer) follow(ctx context.Context, wg *sync.WaitGroup) error {
	view := s.options.Cache.View(keyspace.GitSources)
	changes, err := s.options.Cache.Subscribe(keyspace.GitSources, view.Revision(), nil)
	if err != nil {
		return err
	}
	defer changes.Close()
	for {
		s.arrange(ctx, wg)
		if _, _, err := changes.Next(ctx); err != nil {
			return err
		}
	}
}

// arrange has a worker for each source.
func (s *Syncer) arrange(ctx context.Context, wg *sync.WaitGroup) {
	present := map[string]bool{}
	s.options.Cache.View(keyspace.GitSources).Ascend("", func(item *cache.Item) bool {
		source, err := decodeSource(item)
		if err != nil || !source.Metadata.DeletionTimestamp.IsZero() {
			return true
		}
		name := source.Metadata.Name
		have := s.workers[name]
		if have != nil && have.uid == source.Metadata.Uid {
			present[name] = true
			if have.generation != source.Metadata.Generation {
				have.generation = source.Metadata.Generation
				select {
				case have.kick <- struct{}{}:
				default:
				}
			}
			return true
		}
		if have != nil {
			have.end()
			delete(s.workers, name)
		}
		if len(s.workers) >= maxSources {
			if !s.left[name] {
				s.left[name] = true
				s.options.Log.Warn("a git source is not followed because there are too many", "source", name, "limit", maxSources)
			}
			return true
		}
		present[name] = true
		delete(s.left, name)
		s.start(ctx, wg, source)
		return true
	})
	for name, have := range s.workers {
		if !present[name] {
			have.end()
			delete(s.workers, name)
		}
	}
}

func (s *Syncer) start(ctx context.Context, wg *sync.WaitGroup, source *api.GitSource) {
	ctx, end := context.WithCancel(ctx)
	w := &worker{syncer: s, name: source.Metadata.Name, uid: source.Metadata.Uid, kick: make(chan struct{}, 1), log: s.options.Log}
	s.workers[w.name] = &running{worker: w, generation: source.Metadata.Generation, end: end}
	wg.Go(func() { w.run(ctx) })
}

// source is a source as the cache has it.
func (s *Syncer) source(name string) (*api.GitSource, bool) {
	item, ok := s.options.Cache.View(keyspace.GitSources).Get(name)
	if !ok {
		return nil, false
	}
	source, err := decodeSource(item)
	return source, err == nil
}

func decodeSource(item *cache.Item) (*api.GitSource, error) {
	source := new(api.GitSource)
	if err := json.Unmarshal(item.Value, source); err != nil {
		return nil, err
	}
	source.Metadata.ResourceVersion = ""
	source.Default()
	return source, nil
}
