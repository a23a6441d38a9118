package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/internal/auditchain"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Query selects records. Empty fields select all.
type Query struct {
	Since, Until                                time.Time // Until is exclusive
	Subject, Verb, Kind, Name, Network, Outcome string
	// Visible, if it is not nil, decides about each record besides.
	Visible func(*Record) bool
	After   int64 // only records with greater numbers
	Limit   int   // of Items, at least 1
}

// Page is an answer: records in the order of their numbers.
type Page struct {
	Base  auditchain.Point // of the whole log
	Items []Record
	// Next asks for the next page as Query.After; 0: there is no more. A page may have fewer items than the limit, or none, and a next
	// one: looking for rare records takes several pages.
	Next     int64
	Revision int64 // of the store
}

func (q *Query) matches(r *Record) bool {
	return (q.Since.IsZero() || !r.Time.Before(q.Since)) && (q.Until.IsZero() || r.Time.Before(q.Until)) &&
		(q.Subject == "" || q.Subject == r.Subject) && (q.Verb == "" || q.Verb == r.Verb) &&
		(q.Kind == "" || strings.EqualFold(q.Kind, r.Kind)) && (q.Name == "" || q.Name == r.Name) &&
		(q.Network == "" || q.Network == r.Network) && (q.Outcome == "" || q.Outcome == r.Outcome) &&
		(q.Visible == nil || q.Visible(r))
}

// Query answers in bounded work: it looks at maxScan records at most. The error wraps store.ErrCompacted if the records after
// Query.After were removed since the page before, so that the pages would have a gap.
func (l *Log) Query(ctx context.Context, q Query) (Page, error) {
	h, err := l.state(ctx)
	if err != nil {
		return Page{}, err
	}
	if q.After > 0 && q.After < h.Base.Sequence {
		return Page{}, fmt.Errorf("audit records after %d: %w", q.After, store.ErrCompacted)
	}
	page := Page{Base: h.Base, Revision: h.revision}
	at := max(q.After, h.Base.Sequence)
	if q.After == 0 && !q.Since.IsZero() {
		if at, err = l.seek(ctx, h, q.Since.Add(-clockSkew)); err != nil {
			return Page{}, err
		}
	}
	for scanned := 0; ; {
		l, err := l.store.List(ctx, keyspace.AuditChainPrefix, store.ListOptions{After: keyspace.AuditRecord(at), Limit: queryPage})
		if err != nil {
			return Page{}, fmt.Errorf("read the audit log: %w", err)
		}
		page.Revision = l.Revision
		for i, e := range l.Entries {
			var r Record
			if err := json.Unmarshal(e.Value, &r); err != nil {
				return Page{}, fmt.Errorf("decode %s: %w", e.Key, err)
			}
			at = r.Sequence
			if !q.Until.IsZero() && r.Time.After(q.Until.Add(clockSkew)) {
				return page, nil
			}
			if q.matches(&r) {
				page.Items = append(page.Items, r)
			}
			if len(page.Items) == q.Limit {
				if i < len(l.Entries)-1 || l.More {
					page.Next = at
				}
				return page, nil
			}
		}
		if scanned += len(l.Entries); !l.More {
			return page, nil
		}
		if scanned >= maxScan {
			page.Next = at
			return page, nil
		}
	}
}

// seek returns a number before the first record that is not older than a time, by bisection: times grow with the numbers, but for the
// differences of clocks, which the caller allows for.
func (l *Log) seek(ctx context.Context, h held, since time.Time) (int64, error) {
	low, high := h.Base.Sequence, h.Head.Sequence // the answer is in low … high
	for low < high {
		middle := low + (high-low+1)/2
		e, err := l.store.Get(ctx, keyspace.AuditRecord(middle))
		if errors.Is(err, store.ErrNotFound) { // trimmed since the state was read
			low = middle
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("read the audit log: %w", err)
		}
		var r Record
		if err := json.Unmarshal(e.Value, &r); err != nil {
			return 0, fmt.Errorf("decode %s: %w", e.Key, err)
		}
		if r.Time.Before(since) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low, nil
}
