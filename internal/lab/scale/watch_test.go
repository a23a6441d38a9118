package scale

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/enrolment"
)

// crowd is adapters that follow their lists as real ones do, each with a token
// and a connection of its own.
type crowd struct {
	world     *world
	followers []*follower
	stop      context.CancelFunc
	all       sync.WaitGroup
	opening   chan struct{} // a place for each that connects for the first time

	following atomic.Int64 // have an open watch and know their list
	anew      atomic.Int64 // times that a list was read from its beginning
	failures  atomic.Int64 // times that a watch could not be opened or broke

	mu   sync.Mutex
	seen map[int64]time.Time // by revision, when a change was delivered
}

// follower is one adapter. Its fields belong to its goroutine.
type follower struct {
	adapter int
	manager *client.Client
	version string // resourceVersion to go on from; "": from the beginning
	items   int
}

// gather connects the adapters; release ends them.
func (w *world) gather(count int) *crowd {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	c := &crowd{world: w, stop: stop, opening: make(chan struct{}, connecting), seen: map[int64]time.Time{}}
	for i := range count {
		adapter := i * w.fleet.adapters / count
		f := &follower{adapter: adapter, manager: w.client(w.fleet.token(w.t, adapter))}
		c.followers = append(c.followers, f)
		c.all.Go(func() { c.run(ctx, f) })
	}
	return c
}

func (c *crowd) release() {
	c.stop()
	c.all.Wait()
	for _, f := range c.followers {
		f.manager.Close()
	}
}

// run follows the list of one adapter as package adapter does.
func (c *crowd) run(ctx context.Context, f *follower) {
	c.opening <- struct{}{}
	first := sync.OnceFunc(func() { <-c.opening })
	defer first()
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := c.follow(ctx, f, first)
		if ctx.Err() != nil {
			return
		}
		c.failures.Add(1)
		if client.IsGone(err) {
			f.version = ""
		}
		select {
		case <-ctx.Done():
		case <-time.After(enrolment.Delay(min(attempt, 2), err)):
		}
	}
}

func (c *crowd) follow(ctx context.Context, f *follower, opened func()) error {
	watch, err := f.manager.WatchAdapterGeneralNodes(ctx, adapterName(f.adapter), f.version)
	if err != nil {
		return err
	}
	defer watch.Close()
	complete := f.version != ""
	if complete {
		c.following.Add(1)
	} else {
		c.anew.Add(1)
		f.items = 0
	}
	defer func() {
		if complete {
			c.following.Add(-1)
		}
	}()
	for {
		event, err := watch.Next()
		if err != nil {
			return err
		}
		switch {
		case complete:
			f.version = event.Object.Meta().ResourceVersion
			if event.Type != api.WatchEventTypeBOOKMARK {
				c.note(f.version)
			}
		case event.Type == api.WatchEventTypeBOOKMARK:
			f.version, complete = event.Object.Meta().ResourceVersion, true
			c.following.Add(1)
			opened()
		default:
			f.items++
		}
	}
}

func (c *crowd) note(version string) {
	now := time.Now()
	revision, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		return // would be missed in what was written
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[revision] = now
}

// await waits until all adapters follow.
func (c *crowd) await() time.Duration {
	c.world.t.Helper()
	begin := time.Now()
	for c.following.Load() < int64(len(c.followers)) {
		if time.Since(begin) > patience {
			c.world.t.Fatalf("%d of %d adapters follow", c.following.Load(), len(c.followers))
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begin)
}

// written is one acknowledged change.
type written struct {
	revision    int64
	sent, acked time.Time
}

// changes makes a number of changes, spread over the adapters of the crowd, at
// a steady rate, or as fast as they are acknowledged if that is slower. It sets
// what says whether a general node is disabled; from is the first of the general
// nodes of an adapter that are changed.
func (c *crowd) changes(count, from, perSecond int, disabled bool) []written {
	c.world.t.Helper()
	due := make(chan int, count)
	var all sync.WaitGroup
	var mu sync.Mutex
	var done []written
	for range writers {
		all.Go(func() {
			for k := range due {
				f := c.followers[k%len(c.followers)]
				i := f.adapter*perAdapter + from + k/len(c.followers)
				one := written{sent: time.Now()}
				body := fmt.Sprintf(`{"spec":{"disabled":%v}}`, disabled)
				response, _ := c.world.do(http.StatusOK, http.MethodPatch, "/api/v1/generalnodes/"+generalNodeName(i), "application/merge-patch+json", []byte(body))
				one.acked = time.Now()
				revision, err := strconv.ParseInt(response.Header.Get("ETag")[1:len(response.Header.Get("ETag"))-1], 10, 64)
				if err != nil {
					c.world.t.Error(err)
				}
				one.revision = revision
				mu.Lock()
				done = append(done, one)
				mu.Unlock()
			}
		})
	}
	begin := time.Now()
	for k := range count {
		time.Sleep(time.Until(begin.Add(time.Duration(k) * time.Second / time.Duration(perSecond))))
		due <- k
	}
	close(due)
	all.Wait()
	return done
}

// delivered waits until every change has reached its adapter and returns how
// long after its acknowledgement, and after its sending, that was.
func (c *crowd) delivered(changes []written) (acked, sent []time.Duration) {
	c.world.t.Helper()
	begin := time.Now()
	for _, one := range changes {
		for {
			c.mu.Lock()
			at, ok := c.seen[one.revision]
			c.mu.Unlock()
			if ok {
				acked, sent = append(acked, max(0, at.Sub(one.acked))), append(sent, at.Sub(one.sent))
				break
			}
			if time.Since(begin) > patience {
				c.world.t.Fatalf("the change of revision %d has not reached its adapter", one.revision)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return acked, sent
}

// watches measures a crowd: what it costs, how soon it knows, and what it does
// when the manager is restarted.
func (w *world) watches() {
	w.t.Helper()
	before := w.memory()
	begin := time.Now()
	c := w.gather(min(maxWatchers, w.fleet.adapters))
	defer c.release()
	c.await()
	n := len(c.followers)
	w.table.add(fmt.Sprintf("%d adapters connect over TLS and receive their lists", n), show(time.Since(begin)))
	for _, f := range c.followers {
		if want := perAdapter + (folder-1-f.adapter+w.fleet.adapters)/w.fleet.adapters; f.items != want { // with those that were applied
			w.t.Fatalf("adapter %d received %d general nodes, not %d", f.adapter, f.items, want)
		}
	}
	time.Sleep(time.Second) // so that what was needed for connecting is free
	after := w.memory()
	w.table.add("memory per watch with its TLS connection, in use after garbage collection",
		fmt.Sprintf("%d KiB", (after.live+after.stacks-before.live-before.stacks)/int64(n)>>10))
	w.delivery(c)
	w.comeback(c)
}

func (w *world) delivery(c *crowd) {
	w.t.Helper()
	begin := time.Now()
	var changes []written
	w.profiled("watch", func() { changes = c.changes(changesPerSecond*w.samples.seconds, 1, changesPerSecond, true) })
	rate := float64(len(changes)) / time.Since(begin).Seconds()
	acked, sent := c.delivered(changes)
	var writes []time.Duration
	for _, one := range changes {
		writes = append(writes, one.acked.Sub(one.sent))
	}
	what := fmt.Sprintf("%.0f changes/s to %d adapters", rate, len(c.followers))
	w.table.hold(w.t, what+": from acknowledged to delivered, p99", quantile(acked, 0.99), watchBound, " ("+spread(acked)+")")
	w.table.add(what+": from sent to delivered", spread(sent))
	w.table.add(what+": from sent to acknowledged", spread(writes))
	if rate < changesPerSecond*0.95 {
		w.t.Errorf("%.0f changes were written per second, not %d", rate, changesPerSecond)
	}
}

// comeback restarts the manager under the crowd.
func (w *world) comeback(c *crowd) {
	w.t.Helper()
	c.anew.Store(0)
	begin := time.Now()
	ended, ready := w.restart()
	back := time.Since(begin)
	c.await()
	w.table.add(fmt.Sprintf("restart under %d watches: until the manager has ended", len(c.followers)), show(ended))
	w.table.add("… from its start until it is ready", show(ready))
	w.table.add("… from the order to end until all adapters follow again", show(time.Since(begin))+fmt.Sprintf(" (%s after it was ready)", show(time.Since(begin)-back)))
	w.table.add("… adapters that read their lists from the beginning", strconv.FormatInt(c.anew.Load(), 10))
	acked, _ := c.delivered(c.changes(len(c.followers), 0, changesPerSecond, true))
	w.table.hold(w.t, "… one change for each adapter: from acknowledged to delivered, p99", quantile(acked, 0.99), watchBound, " ("+spread(acked)+")")
}
