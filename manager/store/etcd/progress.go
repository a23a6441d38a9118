package etcd

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// progressMark is the last part of the key that is written below the prefix of
// a watch where etcd cannot be asked how far the watch is.
const progressMark = "~"

// progress knows whether etcd answers requests for progress truly. Before
// 3.4.31 and 3.5.13 the answer could overtake changes that came before it.
type progress struct {
	mu       sync.Mutex
	reliable bool      // under mu
	known    bool      // under mu: all members have told their version
	asked    time.Time // under mu
}

// Progress asks that Next soon tells a revision that is not less than the
// store's now.
func (w *watcher) Progress(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.store.progress.ask(ctx, w.store.client) {
		if err := w.store.client.RequestProgress(w.ctx); err != nil {
			return classify(ctx, "ask for progress", err)
		}
		return nil
	}
	opCtx, cancel := context.WithTimeout(ctx, w.store.timeout)
	defer cancel()
	if _, err := w.store.client.Put(opCtx, w.prefix+progressMark, ""); err != nil {
		return classify(ctx, "ask for progress", err)
	}
	return nil
}

// ask finds out whether every member can be trusted. A member that does not
// answer is not, until it does. The server inside the process is.
func (p *progress) ask(ctx context.Context, client *clientv3.Client) bool {
	endpoints := client.Endpoints()
	if len(endpoints) == 0 {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known || time.Since(p.asked) < progressRetry {
		return p.reliable
	}
	p.asked, p.known, p.reliable = time.Now(), true, true
	askCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for _, endpoint := range endpoints {
		r, err := client.Status(askCtx, endpoint)
		if err != nil {
			p.known, p.reliable = false, false
			break
		}
		p.reliable = p.reliable && progressIsTrue(r.Version)
	}
	return p.reliable
}

// progressIsTrue says whether a version of etcd sends progress in order with
// changes.
func progressIsTrue(version string) bool {
	var parts [3]int
	core, _, _ := strings.Cut(version, "-")
	fields := strings.Split(core, ".")
	if len(fields) != len(parts) {
		return false
	}
	for i, f := range fields {
		n, err := strconv.Atoi(f)
		if err != nil {
			return false
		}
		parts[i] = n
	}
	major, minor, patch := parts[0], parts[1], parts[2]
	switch {
	case major != 3:
		return major > 3
	case minor == 4:
		return patch >= 31
	case minor == 5:
		return patch >= 13
	default:
		return minor > 5
	}
}

// streamOf names a stream of its own for a watch: a request for progress goes
// to a whole stream, and waits for all the watches on it.
func streamOf(number int64) []string {
	return []string{"cyphonic-watch", fmt.Sprint(number)}
}
