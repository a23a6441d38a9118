package overlay

import (
	"context"

	"github.com/cyphonic/cyphonic/manager/store"
)

// List returns the keys that begin with a prefix. Revisions from before the
// first write are those of the base; there are no later ones but the newest.
func (s *Store) List(ctx context.Context, prefix string, o store.ListOptions) (store.Listing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began == 0 || (o.Revision != 0 && o.Revision < s.began) {
		return s.base.List(ctx, prefix, o)
	}
	o.Revision = 0
	return s.list(ctx, prefix, o)
}

// list merges pages of the base with what was written. mu is held.
func (s *Store) list(ctx context.Context, prefix string, o store.ListOptions) (store.Listing, error) {
	var out store.Listing
	for {
		page, err := s.base.List(ctx, prefix, o)
		if err != nil {
			return store.Listing{}, err
		}
		to := ""
		if page.More {
			to = page.Entries[len(page.Entries)-1].Key
		}
		out.Entries = s.merge(out.Entries, page.Entries, s.layers(prefix, o.After+"\x00", to), o.KeysOnly)
		out.Revision = max(out.Revision, page.Revision, s.revision)
		if o.Limit > 0 && len(out.Entries) >= o.Limit {
			out.More = page.More || len(out.Entries) > o.Limit
			out.Entries = out.Entries[:o.Limit]
			return out, nil
		}
		if !page.More {
			return out, nil
		}
		o.After = to
	}
}

// merge appends the entries of a page, in order, as the layers have changed them.
func (s *Store) merge(dst, page []store.Entry, layers []*layer, keysOnly bool) []store.Entry {
	for len(page) > 0 || len(layers) > 0 {
		if len(layers) == 0 || (len(page) > 0 && page[0].Key < layers[0].entry.Key) {
			dst, page = append(dst, page[0]), page[1:]
			continue
		}
		l := layers[0]
		layers = layers[1:]
		under := store.Entry{}
		if len(page) > 0 && page[0].Key == l.entry.Key {
			under, page = page[0], page[1:]
		}
		if !l.underKnown {
			l.under, l.underKnown = under, true
		}
		if l.deleted {
			continue
		}
		e := l.shown()
		if keysOnly {
			e.Value = nil
		}
		dst = append(dst, e)
	}
	return dst
}
