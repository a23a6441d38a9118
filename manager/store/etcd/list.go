package etcd

import (
	"context"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cyphonic/cyphonic/manager/store"
)

// List returns the keys below a prefix, read page by page at one revision.
// Each page has a time limit of its own: a long list takes long.
func (s *Store) List(ctx context.Context, prefix string, o store.ListOptions) (store.Listing, error) {
	out := store.Listing{Revision: o.Revision}
	w := newWalk(prefix, o.After)
	for page := firstPage; ; {
		if o.Limit > 0 {
			page = min(largestPage, o.Limit-len(out.Entries))
		}
		r, err := s.page(ctx, w.from, w.to(), page, out.Revision, o.KeysOnly)
		if err != nil {
			return store.Listing{}, classify(ctx, "list "+prefix, err)
		}
		if out.Revision == 0 {
			out.Revision = r.Header.Revision
		}
		bytes := 0
		for _, kv := range r.Kvs {
			bytes += len(kv.Key) + len(kv.Value)
			out.Entries = append(out.Entries, entryOf(kv))
		}
		if more := w.advance(r, page); !more {
			return out, nil
		}
		if o.Limit > 0 && len(out.Entries) >= o.Limit {
			out.More, err = s.any(ctx, w, out.Revision)
			return out, classifyIf(ctx, "list "+prefix, err)
		}
		if len(r.Kvs) > 0 {
			page = nextPage(bytes, len(r.Kvs))
		}
	}
}

// any says whether a walk would find more.
func (s *Store) any(ctx context.Context, w walk, revision int64) (bool, error) {
	for {
		r, err := s.page(ctx, w.from, w.to(), 1, revision, true)
		if err != nil {
			return false, err
		}
		if len(r.Kvs) > 0 {
			return true, nil
		}
		if more := w.advance(r, 1); !more {
			return false, nil
		}
	}
}

func (s *Store) page(ctx context.Context, from, end string, limit int, revision int64, keysOnly bool) (*clientv3.GetResponse, error) {
	opCtx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	opts := []clientv3.OpOption{
		clientv3.WithRange(end), clientv3.WithLimit(int64(limit)), clientv3.WithRev(revision),
	}
	if keysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	return s.client.Get(opCtx, from, opts...)
}

// nextPage chooses how many keys to read next, from what the last ones were
// like.
func nextPage(bytes, keys int) int {
	return min(max(pageBytes*keys/max(bytes, 1), 1), largestPage)
}

// walk goes through the keys below a prefix. etcd counts, for each page, all
// the keys up to the end of the range that it is asked for, so that reading a
// million keys by pages up to the end of the prefix costs the square of that.
// The walk asks for ranges that are about as large as a page: those of the keys
// that begin like the last one did, for as many characters (scope) as seem right.
type walk struct {
	prefix string // what all keys begin with
	scope  string // what the keys that are read now begin with; at least the prefix
	from   string // the first key to read
}

// newWalk begins after a key; "" is before all.
func newWalk(prefix, after string) walk {
	w := walk{prefix: prefix, scope: prefix, from: prefix}
	switch end := clientv3.GetPrefixRangeEnd(prefix); {
	case after < prefix:
	case end != "\x00" && after >= end:
		w.from = end // nothing is left; the read is for the revision
	default:
		w.from = after + "\x00"
		w.scope = after[:max(len(prefix), len(after)-scopeStart)]
	}
	return w
}

// to is the end of the range to read.
func (w *walk) to() string { return clientv3.GetPrefixRangeEnd(w.scope) }

// advance takes over a page and says whether there may be more.
func (w *walk) advance(r *clientv3.GetResponse, limit int) bool {
	if !r.More || len(r.Kvs) == 0 {
		return w.widen()
	}
	first, last := string(r.Kvs[0].Key), string(r.Kvs[len(r.Kvs)-1].Key)
	w.from = last + "\x00"
	if r.Count > scopePages*int64(limit) {
		n := 0
		for n < len(first) && n < len(last) && first[n] == last[n] {
			n++
		}
		w.scope = last[:max(len(w.scope), min(n+1, len(last)))]
	}
	return true
}

// widen goes on behind the scope, with one that is a character shorter.
func (w *walk) widen() bool {
	if len(w.scope) <= len(w.prefix) || w.to() == "\x00" {
		return false
	}
	w.from = w.to()
	w.scope = w.scope[:len(w.scope)-1]
	for len(w.scope) > len(w.prefix) && !strings.HasPrefix(w.from, w.scope) {
		w.scope = w.scope[:len(w.scope)-1]
	}
	return strings.HasPrefix(w.from, w.prefix)
}
