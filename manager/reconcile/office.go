package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/manager/fence"
	"github.com/cyphonic/cyphonic/manager/store"
)

// officeName is what is led: all the work of the managers that must be done by
// one of them.
const officeName = "manager"

// Work is one thing that the leader does until its context ends. An error ends
// only this attempt: it is begun again.
type Work struct {
	Name string // value of a metric's label
	Run  func(ctx context.Context, office store.Leadership) error
}

// Alone is work that does not care about the office.
func Alone(name string, run func(ctx context.Context) error) Work {
	return Work{name, func(ctx context.Context, _ store.Leadership) error { return run(ctx) }}
}

// Options is what an Office needs.
type Options struct {
	Store  store.Store
	Holder string // who this manager is, for people
	// First is done before anything else of each term; nothing begins before it
	// has succeeded. Nil: there is nothing.
	First      func(ctx context.Context, office store.Leadership) error
	Works      []Work
	Log        *slog.Logger
	Registerer prometheus.Registerer
	TTL        time.Duration // 0: officeTTL
}

// Office seeks the lead among all managers, again and again.
type Office struct {
	options  Options
	leading  prometheus.Gauge
	terms    prometheus.Counter
	failures *prometheus.CounterVec
}

// New returns an office and registers its metrics.
func New(o Options) (*Office, error) {
	if o.Store == nil || o.Holder == "" || o.Log == nil || o.Registerer == nil {
		return nil, errors.New("reconcile: Store, Holder, Log and Registerer are required")
	}
	if o.TTL == 0 {
		o.TTL = officeTTL
	}
	f := &Office{
		options: o,
		leading: prometheus.NewGauge(prometheus.GaugeOpts{Name: "cyphonic_manager_leading", Help: "1 while this manager is the one that does the work of all of them."}),
		terms:   prometheus.NewCounter(prometheus.CounterOpts{Name: "cyphonic_manager_terms_total", Help: "How often this manager has become the leader."}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_work_failures_total", Help: "Work of the leader that failed and was begun again, by work.",
		}, []string{"work"}),
	}
	for _, w := range o.Works {
		f.failures.WithLabelValues(w.Name)
	}
	for _, c := range []prometheus.Collector{f.leading, f.terms, f.failures} {
		if err := o.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of the leader: %w", err)
		}
	}
	return f, nil
}

// Run leads whenever it can until ctx ends, and then gives the office up.
func (f *Office) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		// The office is given up after the work has ended, not with ctx.
		term, end := context.WithCancel(context.WithoutCancel(ctx))
		stop := context.AfterFunc(ctx, end)
		office, err := f.options.Store.Lead(term, officeName, f.options.Holder, f.options.TTL)
		if !stop() || err != nil {
			end()
			if err == nil {
				f.resign(office)
			} else if ctx.Err() == nil {
				f.options.Log.Debug("no leader can be chosen now", "err", err)
				pause(ctx, retryInterval)
			}
			continue
		}
		f.lead(ctx, office)
		f.resign(office)
		end()
	}
	return nil
}

func (f *Office) resign(office store.Leadership) {
	ctx, cancel := context.WithTimeout(context.Background(), resignTimeout)
	defer cancel()
	if err := office.Resign(ctx); err != nil {
		f.options.Log.Debug("the office was not given up and ends by itself", "err", err)
	}
}

// lead does all work until ctx ends or the office is lost.
func (f *Office) lead(ctx context.Context, office store.Leadership) {
	ctx, cancel := context.WithCancel(fence.With(ctx, office.Condition()))
	defer cancel()
	f.options.Log.Info("this manager leads now", "holder", f.options.Holder)
	f.terms.Inc()
	f.leading.Set(1)
	defer f.leading.Set(0)
	var group errgroup.Group
	group.Go(func() error {
		select {
		case <-ctx.Done():
		case <-office.Lost():
			f.options.Log.Warn("the lead is lost: another manager goes on")
			cancel()
		}
		return nil
	})
	group.Go(func() error {
		if f.options.First != nil {
			f.repeat(ctx, Work{"first", f.options.First}, office, true)
		}
		for _, w := range f.options.Works {
			group.Go(func() error {
				f.repeat(ctx, w, office, false)
				return nil
			})
		}
		return nil
	})
	_ = group.Wait() // nothing in it returns an error
}

// repeat begins a piece of work again when it ends, until ctx ends, or, if it
// is to be done once, until it has succeeded.
func (f *Office) repeat(ctx context.Context, w Work, office store.Leadership, once bool) {
	for ctx.Err() == nil {
		err := w.Run(ctx, office)
		switch {
		case ctx.Err() != nil, err == nil && once:
			return
		case err != nil:
			f.failures.WithLabelValues(w.Name).Inc()
			f.options.Log.Warn("work of the leader failed and is begun again", "work", w.Name, "err", err)
		}
		pause(ctx, retryInterval)
	}
}

// pause waits unless ctx ends first.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
