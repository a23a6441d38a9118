package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/cyphonic/cyphonic/manager/store"
)

// watcher adapts one etcd watch. The client resumes it by itself when its
// connection breaks.
type watcher struct {
	store  *Store
	ctx    context.Context // of the watch: ended by Close or by the caller
	cancel context.CancelFunc
	ch     clientv3.WatchChan
	prefix string
	last   int64 // revision of the last batch
}

// Watch delivers the changes below a prefix, from the first after the
// revision on.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) (store.Watcher, error) {
	if after < 0 {
		return nil, fmt.Errorf("%w: watch after revision %d", store.ErrTransaction, after)
	}
	stream := metadata.AppendToOutgoingContext(ctx, streamOf(s.watches.Add(1))...)
	watchCtx, cancel := context.WithCancel(clientv3.WithRequireLeader(stream))
	ch := s.client.Watch(watchCtx, prefix, clientv3.WithPrefix(), clientv3.WithPrevKV(),
		clientv3.WithRev(after+1), clientv3.WithProgressNotify())
	return &watcher{store: s, ctx: watchCtx, cancel: cancel, ch: ch, prefix: prefix, last: after}, nil
}

// Next waits for the next changes.
func (w *watcher) Next(ctx context.Context) (store.Batch, error) {
	select {
	case <-ctx.Done():
		return store.Batch{}, ctx.Err()
	case r, ok := <-w.ch:
		if !ok {
			if err := w.ctx.Err(); err != nil {
				return store.Batch{}, err
			}
			return store.Batch{}, fmt.Errorf("watch %s: %w", w.prefix, store.ErrUnavailable)
		}
		return w.batch(r)
	}
}

func (w *watcher) batch(r clientv3.WatchResponse) (store.Batch, error) {
	if err := r.Err(); err != nil {
		if r.CompactRevision != 0 || errors.Is(err, rpctypes.ErrCompacted) {
			return store.Batch{}, fmt.Errorf("watch %s: %w", w.prefix, store.ErrCompacted)
		}
		return store.Batch{}, classify(w.ctx, "watch "+w.prefix, err)
	}
	b := store.Batch{Revision: w.last}
	for _, e := range r.Events {
		b.Revision = max(b.Revision, e.Kv.ModRevision)
		if string(e.Kv.Key) == w.prefix+progressMark {
			continue
		}
		event := store.Event{Type: store.EventPut, Entry: entryOf(e.Kv)}
		if e.Type == clientv3.EventTypeDelete {
			event.Type = store.EventDelete
		}
		if e.PrevKv != nil {
			event.Previous = entryOf(e.PrevKv)
		}
		b.Events = append(b.Events, event)
	}
	if r.IsProgressNotify() {
		b.Revision = max(b.Revision, r.Header.Revision)
	}
	w.last = b.Revision
	return b, nil
}

// Close ends the watch.
func (w *watcher) Close() { w.cancel() }
