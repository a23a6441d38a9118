package audit

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/auditchain"
	"github.com/cyphonic/cyphonic/manager/store"
)

// pages reads all pages of a query and returns the names.
func (w *world) pages(q Query) (names []string, pages int) {
	w.t.Helper()
	if q.Limit == 0 {
		q.Limit = 1000
	}
	for {
		page, err := w.Query(w.ctx, q)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(page.Items) > q.Limit {
			w.t.Fatalf("%d items with a limit of %d", len(page.Items), q.Limit)
		}
		for _, r := range page.Items {
			names = append(names, r.Name)
		}
		if pages++; page.Next == 0 {
			return names, pages
		}
		q.After = page.Next
	}
}

func TestQueries(t *testing.T) {
	w := newWorld(t, Limits{})
	if names, _ := w.pages(Query{}); names != nil {
		t.Errorf("an empty log has %v", names)
	}
	start := w.now
	w.append(60) // n0 … n59, one a minute, in hall and yard by turns, by three users by turns
	w.do(Record{Subject: "user/0", Verb: "delete", Kind: "Role", Name: "late", Outcome: auditchain.Denied})
	w.append(0)
	minute := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	for _, c := range []struct {
		name  string
		query Query
		want  string
	}{
		{"since", Query{Since: minute(59)}, "[n58 n59 late]"},
		{"until", Query{Until: minute(3)}, "[n0 n1]"},
		{"between", Query{Since: minute(20), Until: minute(23)}, "[n19 n20 n21]"},
		{"subject and network", Query{Subject: "user/0", Network: "hall", Until: minute(20)}, "[n0 n6 n12 n18]"},
		{"name", Query{Name: "n42"}, "[n42]"},
		{"verb", Query{Verb: "delete"}, "[late]"},
		{"kind", Query{Kind: "role"}, "[late]"},
		{"outcome", Query{Outcome: auditchain.Denied}, "[late]"},
		{"nobody", Query{Subject: "user/9"}, "[]"},
		{"after", Query{After: 59}, "[n59 late]"},
		{"visible", Query{Visible: func(r *Record) bool { return r.Network == "" }}, "[late]"},
	} {
		if names, _ := w.pages(c.query); fmt.Sprint(names) != c.want {
			t.Errorf("%s: %v, want %s", c.name, names, c.want)
		}
	}
	all, pages := w.pages(Query{Limit: 7})
	if len(all) != 61 || pages != 9 {
		t.Errorf("%d records on %d pages", len(all), pages)
	}
	if all, pages := w.pages(Query{Limit: 61}); len(all) != 61 || pages != 1 {
		t.Errorf("%d records on %d pages of just the right size", len(all), pages)
	}
}

// The clocks of managers differ: a record may be older than the one before it.
func TestQueriesByTimeAllowForClocks(t *testing.T) {
	w := newWorld(t, Limits{})
	w.append(100)
	at := w.now
	w.do(Record{Subject: "x", Name: "behind", Time: at.Add(-clockSkew / 2)})
	w.append(0)
	if names, _ := w.pages(Query{Until: at.Add(-clockSkew / 2).Add(time.Second), Subject: "x"}); fmt.Sprint(names) != "[behind]" {
		t.Errorf("until: %v", names)
	}
	if names, _ := w.pages(Query{Since: at.Add(-time.Second)}); fmt.Sprint(names) != "[n99]" {
		t.Errorf("since: %v", names)
	}
}

func TestPagesThatWereTrimmedMeanwhile(t *testing.T) {
	w := newWorld(t, Limits{Records: 10})
	w.append(30)
	page, err := w.Query(w.ctx, Query{Limit: 5})
	if err != nil || page.Next != 5 {
		t.Fatalf("%+v %v", page, err)
	}
	if err := w.trim(w.ctx, w.office); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Query(w.ctx, Query{Limit: 5, After: page.Next}); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("%v", err)
	}
	page, err = w.Query(w.ctx, Query{Limit: 5})
	if err != nil || page.Base.Sequence != 20 || page.Items[0].Sequence != 21 || auditchain.Verify(page.Items, page.Base) != nil {
		t.Errorf("%+v %v", page, err)
	}
}
