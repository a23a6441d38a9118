package cache

import (
	"sort"
)

// Change is what happened to one resource between two moments.
type Change struct {
	// Before is nil if the resource did not exist, or did not match; After is
	// nil if it does not any more.
	Before, After *Item
	Revision      int64 // of the last write
}

// name is the name of the resource.
func (c Change) name() string {
	if c.After != nil {
		return c.After.Name
	}
	return c.Before.Name
}

// record is a change of one kind.
type record struct {
	Change
	plural string
}

// history is the recent changes of all kinds in the order of revisions. They
// are numbered; the numbers from first to next are there. It is under Cache.mu.
type history struct {
	ring        []record
	first, next uint64
	bytes       int
	floor       int64 // every change after this revision is there
}

// add remembers a change and returns its number.
func (h *history) add(r record) uint64 {
	for h.next-h.first >= uint64(len(h.ring)) {
		h.drop()
	}
	h.ring[h.next%uint64(len(h.ring))] = r
	h.next++
	h.bytes += r.cost()
	for h.bytes > historyBytes {
		h.drop()
	}
	return h.next - 1
}

func (r record) cost() int { return r.Before.size() + r.After.size() + changeOverhead }

func (h *history) drop() {
	old := &h.ring[h.first%uint64(len(h.ring))]
	h.bytes -= old.cost()
	h.floor = old.Revision
	*old = record{}
	h.first++
}

func (h *history) at(number uint64) record { return h.ring[number%uint64(len(h.ring))] }

// after returns the number of the first change after a revision.
func (h *history) after(revision int64) uint64 {
	n := sort.Search(int(h.next-h.first), func(i int) bool {
		return h.at(h.first+uint64(i)).Revision > revision
	})
	return h.first + uint64(n)
}

// merged joins the changes of each resource into one, in the order of their
// revisions, so that whoever has taken over a change has also taken over all
// before its revision. A deletion and a creation after it stay apart: it is not
// the same resource.
func merged(changes []Change) []Change {
	if len(changes) < 2 {
		return changes
	}
	last := make(map[string]int, len(changes)) // name to index in out
	out := make([]Change, 0, len(changes))
	for _, c := range changes {
		i, seen := last[c.name()]
		switch {
		case !seen || out[i].After == nil:
			last[c.name()] = len(out)
			out = append(out, c)
		case c.After == nil && out[i].Before == nil: // it came and went
			delete(last, c.name())
			out[i] = Change{}
		default:
			out[i].After, out[i].Revision = c.After, c.Revision
		}
	}
	kept := out[:0]
	for _, c := range out {
		if c.Before != nil || c.After != nil {
			kept = append(kept, c)
		}
	}
	sort.SliceStable(kept, func(i, j int) bool { return kept[i].Revision < kept[j].Revision })
	return kept
}

// matching leaves of each change what a subscriber can see.
func matching(changes []Change, match func(*Item) bool) []Change {
	if match == nil {
		return changes
	}
	kept := changes[:0]
	for _, c := range changes {
		if c.Before != nil && !match(c.Before) {
			c.Before = nil
		}
		if c.After != nil && !match(c.After) {
			c.After = nil
		}
		if c.Before != nil || c.After != nil {
			kept = append(kept, c)
		}
	}
	return kept
}
