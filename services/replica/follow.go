package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/metadata"
)

// FollowOptions say what Follow follows.
type FollowOptions struct {
	Client   *Client
	Prefixes []string // each with its final slash; none covers another
	Log      *slog.Logger
	// Connected is told whether etcd answers, at first and whenever that changes. It may be nil. It is called from the
	// goroutine of Follow and must not block.
	Connected func(bool)
}

// Item is a key that exists.
type Item struct {
	Key      string
	Value    []byte
	Revision int64 // at which it was written
}

// Update is what Follow reports. No key is in both Puts and Deletes.
type Update struct {
	List     bool // Puts is everything there is; what is not in it does not exist
	Puts     []Item
	Deletes  []string
	Revision int64 // of etcd; everything up to it has been reported, for the prefix of these keys
}

// errStalled says that a watch hears nothing of what etcd has.
var errStalled = errors.New("the watch hears nothing of what etcd has")

// errHistory says that etcd is not the one that was followed: it was restored from a backup.
var errHistory = errors.New("etcd went back in time or is another cluster")

// Follow lists the keys below the prefixes at one revision and watches them: f gets the list, then what changes. The
// changes of one prefix come in order; a transaction over several prefixes may come as several updates. After an
// outage Follow goes on where it was; only where etcd does not remember that any more (compaction), f gets a list again.
// Failures are logged and tried again. Follow returns nil when ctx has ended; f is called from its goroutine.
func Follow(ctx context.Context, o FollowOptions, f func(Update)) error {
	var list Update
	w := &follower{
		client: o.Client, prefixes: o.Prefixes, log: o.Log, connected: o.Connected,
		begin:   func(revision int64) { list = Update{List: true, Revision: revision} },
		listed:  func(items []Item) { list.Puts = append(list.Puts, items...) },
		end:     func() { f(list); list = Update{} },
		changed: f,
	}
	w.run(ctx)
	return nil
}

// follower is the engine of Follow. Its functions are called from the goroutine of run.
type follower struct {
	client    *Client
	prefixes  []string
	log       *slog.Logger
	connected func(bool)

	begin   func(revision int64) // a list begins; what came of an unfinished one is void
	listed  func([]Item)         // a part of it
	end     func()               // the list is complete
	changed func(Update)         // also without changes, when only the revision is news
	timer   *time.Timer          // may be nil; due is called when it fires
	due     func()

	cluster uint64
	seen    []int64 // by prefix: everything up to this revision has been reported; nil: a list is needed
	certain []int64 // by prefix: the revision of the list or of the latest event since, after which a watch goes on
	claimed []int64 // by prefix: up to where etcd says that it has reported everything
	up      *bool   // what connected was told last

	oldest  atomic.Int64 // the smallest of seen
	attempt atomic.Int64 // counts the watches
	watcher atomic.Pointer[clientv3.Watcher]
}

// run follows until ctx ends.
func (w *follower) run(ctx context.Context) {
	delay := retryMin
	for ctx.Err() == nil {
		start := time.Now()
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, errHistory) {
			w.seen = nil
		}
		w.tell(false)
		if time.Since(start) > followRetryMax {
			delay = retryMin
		}
		w.log.Warn("watch of etcd ended, trying again", "prefixes", w.prefixes, "error", err, "delay", delay)
		if !w.pause(ctx, delay) {
			return
		}
		delay = min(2*delay, followRetryMax)
	}
}

// pause waits for d, serves the timer meanwhile and reports false when ctx ended before.
func (w *follower) pause(ctx context.Context, d time.Duration) bool {
	wait := time.NewTimer(d)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-wait.C:
			return true
		case <-w.fired():
			w.due()
		}
	}
}

// fired is the channel of the timer, nil if there is none.
func (w *follower) fired() <-chan time.Time {
	if w.timer == nil {
		return nil
	}
	return w.timer.C
}

func (w *follower) tell(up bool) {
	if w.connected == nil || w.up != nil && *w.up == up {
		return
	}
	w.up = &up
	w.connected(up)
}

// follow lists if it must and watches until that fails.
func (w *follower) follow(ctx context.Context) error {
	revision, err := w.ask(ctx, w.seen)
	if err != nil {
		return err
	}
	if w.seen == nil {
		if err := w.list(ctx); err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
	w.tell(true)
	return w.watch(ctx, revision)
}

// ask asks for the revision of etcd, and whether it is still the one that was followed. A watch from a revision that a
// restored etcd has yet to reach would wait in silence.
func (w *follower) ask(ctx context.Context, seen []int64) (int64, error) {
	now, err := w.revision(ctx)
	for range askAgain { // each time another member
		if err == nil || ctx.Err() != nil {
			break
		}
		now, err = w.revision(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("ask etcd for its revision: %w", err)
	}
	for _, revision := range seen {
		if now.Revision < revision || now.ClusterId != w.cluster {
			return 0, errHistory
		}
	}
	return now.Revision, nil
}

func (w *follower) revision(ctx context.Context) (*etcdserverpb.ResponseHeader, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	got, err := w.client.Get(ctx, w.prefixes[0], clientv3.WithCountOnly())
	if err != nil {
		return nil, err
	}
	return got.Header, nil
}

// list reads everything at one revision.
func (w *follower) list(ctx context.Context) error {
	var revision int64
	for _, prefix := range w.prefixes {
		key, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
		for more := true; more; {
			options := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(listPage)}
			if revision != 0 {
				options = append(options, clientv3.WithRev(revision))
			}
			page, err := w.get(ctx, key, options)
			if err != nil {
				return err
			}
			if revision == 0 {
				revision, w.cluster = page.Header.Revision, page.Header.ClusterId
				w.begin(revision)
			}
			items := make([]Item, len(page.Kvs))
			for i, kv := range page.Kvs {
				items[i] = Item{Key: string(kv.Key), Value: kv.Value, Revision: kv.ModRevision}
				key = items[i].Key + "\x00"
			}
			w.listed(items)
			more = page.More
		}
	}
	w.end()
	w.begun(revision)
	return nil
}

// begun takes note of a complete list.
func (w *follower) begun(revision int64) {
	w.seen = slices.Repeat([]int64{revision}, len(w.prefixes))
	w.certain, w.claimed = slices.Clone(w.seen), slices.Clone(w.seen)
	w.oldest.Store(revision)
}

func (w *follower) get(ctx context.Context, key string, options []clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return w.client.Get(ctx, key, options...)
}

// news is what the watch of a prefix says.
type news struct {
	prefix   int
	response clientv3.WatchResponse
}

// watch reports what changes until a watch ends or etcd does not answer as it should.
func (w *follower) watch(ctx context.Context, revision int64) error {
	group, ctx := errgroup.WithContext(ctx)
	arrived, checked := make(chan news), make(chan error)
	w.attempt.Add(1)
	watching := w.stream(ctx)
	watcher := newWatcher(w.client)
	defer func() { _ = watcher.Close() }()
	w.watcher.Store(&watcher)
	copy(w.claimed, w.seen) // what was claimed on another stream counts for that
	for i, prefix := range w.prefixes {
		from := clientv3.WithRev(w.certain[i] + 1)
		group.Go(func() error { // Watch waits for the member to which it goes
			return forward(ctx, i, watcher.Watch(watching, prefix, clientv3.WithPrefix(), from, clientv3.WithProgressNotify()), arrived)
		})
	}
	group.Go(func() error { return w.check(ctx, revision, checked) })
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case n := <-arrived:
				w.report(n)
			case err := <-checked:
				w.tell(err == nil)
			case <-w.fired():
				w.due()
			}
		}
	})
	return group.Wait()
}

// forward passes the responses of one watch on.
func forward(ctx context.Context, prefix int, events clientv3.WatchChan, to chan<- news) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case response, ok := <-events:
			if !ok {
				return errors.New("watch closed")
			}
			if err := response.Err(); err != nil {
				return err
			}
			select {
			case to <- news{prefix, response}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// check asks now and then whether etcd answers and whether the watch is still heard of: the client waits long for a
// member that has vanished, and says nothing when it mends a watch by itself. revision is what etcd said last.
func (w *follower) check(ctx context.Context, revision int64, to chan<- error) error {
	for err := error(nil); ; {
		before := w.oldest.Load()
		if err == nil && !w.hears(ctx, before, revision) {
			return errStalled
		}
		if !sleep(ctx, checkInterval) {
			return ctx.Err()
		}
		if revision, err = w.ask(ctx, []int64{before}); errors.Is(err, errHistory) {
			return err
		}
		select {
		case to <- err:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hears waits until the watch has reached the revision, or at least goes on.
func (w *follower) hears(ctx context.Context, before, revision int64) bool {
	for deadline := time.Now().Add(checkTimeout); ; {
		if now := w.oldest.Load(); now >= revision || now != before {
			return true
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return false
		}
		w.progress(ctx)
		sleep(ctx, progressInterval)
	}
}

// progress asks the watch how far it is.
func (w *follower) progress(ctx context.Context) {
	if watcher := w.watcher.Load(); watcher != nil {
		_ = (*watcher).RequestProgress(w.stream(ctx))
	}
}

// stream returns a context for the watches of this attempt. The client puts watches whose contexts have the same
// metadata into one stream, and keeps one that hangs.
func (w *follower) stream(ctx context.Context) context.Context {
	name := fmt.Sprintf("%s %d", strings.Join(w.prefixes, " "), w.attempt.Load())
	return clientv3.WithRequireLeader(metadata.AppendToOutgoingContext(ctx, "cyphonic-follow", name))
}

// report tells of one response. The revision of its header is not that of its last event: while a watch catches up
// it is ahead of events that are still to come.
//
// Nor may a progress notification be believed at once: etcd before 3.4.25 and 3.5.8 may say how far a watch is before it
// has sent the events up to there (etcd-io/etcd#15220). So a revision counts as seen only when a second notification has
// followed the one that claims it, which is when the events that it overtook have come; and a watch goes on after the
// last event, whatever was claimed. An event that comes late all the same counts as any other.
func (w *follower) report(n news) {
	i, events := n.prefix, n.response.Events
	u := Update{Revision: w.seen[i]}
	if len(events) == 0 && n.response.IsProgressNotify() {
		u.Revision = max(u.Revision, w.claimed[i])
		w.claimed[i] = max(w.claimed[i], n.response.Header.Revision)
	}
	last := make(map[string]bool, len(events))
	for _, e := range slices.Backward(events) { // of several changes of a key the last one counts
		key := string(e.Kv.Key)
		u.Revision = max(u.Revision, e.Kv.ModRevision)
		w.certain[i] = max(w.certain[i], e.Kv.ModRevision)
		switch {
		case last[key]:
			continue
		case e.Type == clientv3.EventTypeDelete:
			u.Deletes = append(u.Deletes, key)
		default:
			u.Puts = append(u.Puts, Item{Key: key, Value: e.Kv.Value, Revision: e.Kv.ModRevision})
		}
		last[key] = true
	}
	slices.Reverse(u.Puts)
	slices.Reverse(u.Deletes)
	if len(events) == 0 && u.Revision == w.seen[i] {
		return
	}
	w.seen[i] = u.Revision
	w.changed(u)
	w.oldest.Store(slices.Min(w.seen))
}
