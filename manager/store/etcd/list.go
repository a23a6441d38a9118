package etcd

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cyphonic/cyphonic/manager/store"
)

// List returns the keys below a prefix, read page by page at one revision.
// Each page has a time limit of its own: a long list takes long.
func (s *Store) List(ctx context.Context, prefix string, o store.ListOptions) (store.Listing, error) {
	w := newWalk(prefix, o)
	w.countable = countable
	return s.list(ctx, prefix, o, w)
}

func (s *Store) list(ctx context.Context, prefix string, o store.ListOptions, w *walk) (store.Listing, error) {
	out := store.Listing{Revision: o.Revision}
	for page := firstPage; ; {
		end := w.until()
		whole := end == w.end
		if o.Limit > 0 {
			page = min(page, o.Limit-len(out.Entries))
			if !whole || page == 0 { // one more says whether there is more
				page++
			}
		}
		r, err := s.page(ctx, w.from, end, page, out.Revision, o.KeysOnly)
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
		switch more := r.More && len(r.Kvs) > 0; {
		case o.Limit > 0 && (len(out.Entries) > o.Limit || len(out.Entries) == o.Limit && more):
			out.Entries, out.More = out.Entries[:o.Limit], true
			return out, nil
		case whole && !more:
			return out, nil
		}
		w.advance(r.Kvs, r.Count, r.More, end)
		if len(r.Kvs) > 0 {
			page = nextPage(bytes, len(r.Kvs))
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

// walk chooses the ranges in which a list is read. For each page etcd counts
// all keys of the range behind it, and nothing is written meanwhile: reading a
// million keys in pages of one range costs the square of their number. So a
// long list is read in narrow ranges: those of the keys that have the first
// depth bytes of where it has come to in common. How deep is right shows as the
// list is read.
type walk struct {
	from, end string
	countable int64 // so many keys behind a page do not matter
	depth     int   // 0: the range goes to the end
	stride    int   // by how much depth shrinks when there is nothing
}

// endless is the end of a range without one.
const endless = "\x00"

func newWalk(prefix string, o store.ListOptions) *walk {
	w := &walk{from: prefix, end: clientv3.GetPrefixRangeEnd(prefix), stride: 1}
	if o.After >= prefix {
		w.from = o.After + "\x00"
		if o.Limit == 0 || o.Limit >= firstPage { // what goes on in large pages is long
			w.depth = len(o.After)
		}
	}
	if w.end != endless && w.from >= w.end {
		w.from, w.depth = w.end, 0 // nothing is left; the read is for the revision
	}
	return w
}

// common is what the keys of the next range have in common.
func (w *walk) common() string { return w.from[:min(w.depth, len(w.from))] }

// until is where the next range ends.
func (w *walk) until() string {
	if w.depth <= 0 {
		return w.end
	}
	end := clientv3.GetPrefixRangeEnd(w.common())
	if end == endless || (w.end != endless && end >= w.end) {
		return w.end
	}
	return end
}

// advance goes on after a page of a range that had count keys and went to end.
func (w *walk) advance(kvs []*mvccpb.KeyValue, count int64, more bool, end string) {
	switch {
	case more && len(kvs) > 0:
		first, last := string(kvs[0].Key), string(kvs[len(kvs)-1].Key)
		w.from, w.stride = last+"\x00", 1
		if count > w.countable {
			w.depth = min(shared(first, last)+1, len(last))
		}
		return
	case len(kvs) == 0:
		w.depth = len(w.common()) - w.stride
		w.stride *= 2
	case count*2 < w.countable:
		w.depth, w.stride = len(w.common())-1, 1
	}
	w.from = end
}

// shared is how many bytes two keys begin with in common.
func shared(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
