package telemetry

import (
	"slices"
	"strings"
	"time"
	"unique"
)

// description is what a family is for all adapters that have it; one copy serves them all.
type description struct{ name, kind, help string }

// family is one metric of one adapter, rendered. It is not changed after it was made.
type family struct {
	about  unique.Handle[description]
	series int
	text   []byte // lines of the exposition with the label adapter; empty: the adapter has it no more
}

func (f family) name() string { return f.about.Value().name }

// record is what one adapter has pushed. All fields are under Telemetry.mu; families is replaced, never changed.
type record struct {
	incarnation int64
	boot        string
	sequence    uint64
	families    []family // by name
	bytes       int64
	pushed      time.Time // when the latest push came
	shownFrom   time.Time // before that another manager may show the adapter
	away        bool      // the adapter has pushed to another manager since
	allowance   allowance
}

type shownRecord struct {
	name     string
	families []family
	age      time.Duration
}

func (r *record) stale(now time.Time) bool { return now.Sub(r.pushed) >= staleAfter }

// left says that the adapter has said that it goes.
func (r *record) left() bool { return len(r.families) == 0 }

func (r *record) visible(now time.Time) bool {
	return !r.away && !r.stale(now) && !now.Before(r.shownFrom) && !r.left()
}

// admit holds the numbers of a push against those of the record. done says that it is here already.
func (r *record) admit(p Push) (done bool, err error) {
	switch {
	case p.Boot != r.boot: // the adapter has started anew
		if p.Base != 0 {
			return false, ErrBase
		}
	case p.Sequence == r.sequence:
		return true, nil
	case p.Base > r.sequence: // somebody else has acknowledged that one
		r.away = true
		return false, ErrBase
	case p.Sequence < r.sequence:
		return false, ErrOlder
	case p.Base != 0 && p.Base != r.sequence: // the answer to the latest was lost
		return false, ErrBase
	}
	return false, nil
}

// merge puts the changed families into the others.
func merge(present, changed []family) []family {
	out := make([]family, 0, len(present)+len(changed))
	for len(present) > 0 || len(changed) > 0 {
		switch {
		case len(changed) == 0 || len(present) > 0 && present[0].name() < changed[0].name():
			out, present = append(out, present[0]), present[1:]
		default:
			if len(present) > 0 && present[0].name() == changed[0].name() {
				present = present[1:]
			}
			out, changed = append(out, changed[0]), changed[1:]
		}
	}
	return out
}

// bound leaves out the families that the adapter has no more and those that are over its bounds, and tells how many of the latter there were.
func bound(families []family) (kept []family, refused int) {
	kept = make([]family, 0, len(families))
	series := 0
	for _, f := range families {
		switch {
		case len(f.text) == 0:
		case len(kept) >= maxFamilies || series+f.series > maxSeries:
			refused++
		default:
			kept = append(kept, f)
			series += f.series
		}
	}
	return kept, refused
}

func sizeOf(families []family) int64 {
	size := int64(recordOverhead)
	for _, f := range families {
		size += familyOverhead + int64(cap(f.text))
	}
	return size
}

func sortFamilies(families []family) {
	slices.SortFunc(families, func(a, b family) int { return strings.Compare(a.name(), b.name()) })
}

// allowance is a token bucket.
type allowance struct {
	tokens float64
	at     time.Time
}

func newAllowance(now time.Time) allowance { return allowance{tokens: pushBurst - 1, at: now} }

func (a *allowance) take(now time.Time) bool {
	a.tokens = min(pushBurst, a.tokens+float64(now.Sub(a.at))/float64(pushRefill))
	a.at = now
	if a.tokens < 1 {
		return false
	}
	a.tokens--
	return true
}
