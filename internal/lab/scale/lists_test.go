package scale

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"time"
)

// continued finds the token of the next page, which comes before the items.
func continued(page []byte) string {
	found := regexp.MustCompile(`"continue":"([^"]+)"`).FindSubmatch(page[:min(len(page), 1024)])
	if found == nil {
		return ""
	}
	return string(found[1])
}

// pages reads a list to its end again and again until there are enough pages,
// and returns how long each took, and the items of one list.
func (w *world) pages(query url.Values, enough int) (took []time.Duration, items int) {
	w.t.Helper()
	for len(took) < enough {
		items = 0
		for next := ""; ; {
			query.Set("continue", next)
			if next == "" {
				query.Del("continue")
			}
			begin := time.Now()
			_, page := w.do(http.StatusOK, http.MethodGet, "/api/v1/generalnodes?"+query.Encode(), "", nil)
			took = append(took, time.Since(begin))
			items += bytes.Count(page, []byte(`"kind":"GeneralNode","metadata"`))
			if next = continued(page); next == "" {
				break
			}
		}
	}
	return took, items
}

// lists measures the pages of lists and reads by name.
func (w *world) lists() {
	w.t.Helper()
	n := w.fleet.generalNodes
	cases := []struct {
		what  string
		query url.Values
		items int
	}{
		{"page of 500", url.Values{"limit": {"500"}}, n},
		{"page of 1,000", url.Values{"limit": {"1000"}}, n},
		{"page of 500, a label of a quarter", url.Values{"limit": {"500"}, "labelSelector": {"role=camera"}}, n / 4},
		{"page of 500, labels of one in 16", url.Values{"limit": {"500"}, "labelSelector": {"role=camera,line in (line-00)"}}, n / 16},
		{"page of 500, a label that nothing has", url.Values{"limit": {"500"}, "labelSelector": {"role=none"}}, 0},
		{"page of 500, one adapter", url.Values{"limit": {"500"}, "fieldSelector": {"spec.adapter=" + adapterName(w.fleet.adapters/2)}}, perAdapter},
		{"page of 500, a phase that nothing has", url.Values{"limit": {"500"}, "fieldSelector": {"status.phase=Failed"}}, 0},
	}
	for _, c := range cases {
		took, items := w.pages(c.query, w.samples.pages)
		if items != c.items {
			w.t.Errorf("%s: the list has %d items, not %d", c.what, items, c.items)
		}
		w.table.hold(w.t, "list: "+c.what+", p99", quantile(took, 0.99), pageBound, fmt.Sprintf(" (%s; %d pages)", spread(took), len(took)))
	}
	var took []time.Duration
	for range w.samples.gets {
		begin := time.Now()
		w.do(http.StatusOK, http.MethodGet, "/api/v1/generalnodes/"+generalNodeName(rand.N(n)), "", nil)
		took = append(took, time.Since(begin))
	}
	w.table.add("get by name", spread(took))
}
