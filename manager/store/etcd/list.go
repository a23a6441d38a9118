package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cyphonic/cyphonic/manager/store"
)

// List returns the keys below a prefix, read page by page at one revision.
// Each page has a time limit of its own: a long list takes long.
func (s *Store) List(ctx context.Context, prefix string, o store.ListOptions) (store.Listing, error) {
	out := store.Listing{Revision: o.Revision}
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	if o.After >= from {
		from = o.After + "\x00"
	}
	if end != "\x00" && from >= end {
		from = end // nothing is left; the read is for the revision
	}
	for page := firstPage; ; {
		if o.Limit > 0 {
			page = min(page, o.Limit-len(out.Entries))
		}
		r, err := s.page(ctx, from, end, page, out.Revision, o.KeysOnly)
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
		if !r.More || len(r.Kvs) == 0 {
			return out, nil
		}
		if o.Limit > 0 && len(out.Entries) >= o.Limit {
			out.More = true
			return out, nil
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
		page = nextPage(bytes, len(r.Kvs))
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
// like. etcd counts all the keys that are left for each page, so that reading
// many keys by small pages costs the square of their number.
func nextPage(bytes, keys int) int {
	return min(max(pageBytes*keys/max(bytes, 1), 1), largestPage)
}
