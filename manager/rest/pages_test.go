package rest

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/store"
)

// names are those of the items of a list.
func (r reply) names() []string {
	var out []string
	items, _ := r.at("items").([]any)
	for _, item := range items {
		out = append(out, item.(map[string]any)["metadata"].(map[string]any)["name"].(string))
	}
	return out
}

func (r reply) remaining() int {
	n, _ := r.at("metadata.remainingItemCount").(float64)
	return int(n)
}

// put writes a resource without asking the manager.
func (w *world) put(plural, name, body string) int64 {
	w.t.Helper()
	revision, err := w.store.Commit(w.t.Context(), store.Transaction{Writes: []store.Write{store.Put(keyspace.Resource(plural, name), []byte(body))}})
	if err != nil {
		w.t.Fatal(err)
	}
	return revision
}

// storedGN is a general node as the manager stores it.
func storedGN(name, adapter, labels, phase string) string {
	return fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":"GeneralNode","metadata":{"name":%q,"uid":"u-%s","labels":{%s}},`+
		`"spec":{"adapter":%q,"mac":"02:00:00:00:00:01","network":"f"},"status":{"phase":%q}}`, name, name, labels, adapter, phase)
}

// pages reads a list to its end, every page from the next of the replicas.
func (w *world) pages(path string, replicas ...string) (names []string, version string, replies []reply) {
	w.t.Helper()
	separator, next := "?", ""
	if strings.Contains(path, "?") {
		separator = "&"
	}
	for i := 0; ; i++ {
		w.url = replicas[i%len(replicas)]
		target := path
		if next != "" {
			target += separator + "continue=" + url.QueryEscape(next)
		}
		r := w.must(200, "GET", target, "")
		names, replies = append(names, r.names()...), append(replies, r)
		if version == "" {
			version = r.text("metadata.resourceVersion")
		}
		if got := r.text("metadata.resourceVersion"); got != version {
			w.t.Fatalf("page %d is of revision %s, the first of %s", i, got, version)
		}
		if next = r.text("metadata.continue"); next == "" {
			return names, version, replies
		}
		if i > 1000 {
			w.t.Fatal("the list has no end")
		}
	}
}

func TestAListInPages(t *testing.T) {
	w := newWorld(t)
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("g%02d", i)
		w.put(keyspace.GeneralNodes, name, storedGN(name, "a1", "", "Up"))
		want = append(want, name)
	}
	for _, limit := range []int{1, 7, 24, 25, 26, 1000} {
		names, _, replies := w.pages(fmt.Sprintf("/api/v1/generalnodes?limit=%d", limit), w.url)
		if !slices.Equal(names, want) {
			t.Errorf("limit %d: %v", limit, names)
		}
		if pages := (len(want) + limit - 1) / limit; len(replies) != pages {
			t.Errorf("limit %d: %d pages, want %d", limit, len(replies), pages)
		}
		shown := 0
		for i, r := range replies {
			shown += len(r.names())
			if r.remaining() != len(want)-shown {
				t.Errorf("limit %d, page %d: %d are said to remain of %d", limit, i, r.remaining(), len(want)-shown)
			}
		}
	}
	r := w.must(200, "GET", "/api/v1/generalnodes?limit=3&labelSelector=x", "")
	if len(r.names()) != 0 || r.text("metadata.continue") != "" {
		t.Errorf("nothing has the label: %s", r.raw)
	}
}

// Two replicas answer the pages in turn while everything is changed.
func TestPagesUnderConcurrentWritesOnTwoReplicas(t *testing.T) {
	w := newWorld(t)
	first := w.url
	w.serve(w.store)
	second := w.url
	for i := range 60 {
		name := fmt.Sprintf("g%02d", i)
		w.put(keyspace.GeneralNodes, name, storedGN(name, "a1", "", "Up"))
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprintf("g%02d", i*7%90)
			write := store.Put(keyspace.Resource(keyspace.GeneralNodes, name), []byte(storedGN(name, "a1", fmt.Sprintf(`"i":"%d"`, i), "Up")))
			if i%3 == 0 {
				write = store.Remove(write.Key)
			}
			if _, err := w.store.Commit(t.Context(), store.Transaction{Writes: []store.Write{write}}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	defer func() { close(stop); <-done }()
	for round := range 20 {
		got, version, replies := w.pages("/api/v1/generalnodes?limit=9", first, second)
		revision, _ := strconv.ParseInt(version, 10, 64)
		l, err := w.store.List(t.Context(), keyspace.ResourcePrefix(keyspace.GeneralNodes), store.ListOptions{Revision: revision})
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, e := range l.Entries {
			_, name, _ := keyspace.ParseResource(e.Key)
			want = append(want, name)
		}
		if !slices.Equal(got, want) || len(replies) < 3 {
			t.Fatalf("round %d, revision %s, %d pages:\n got %v\nwant %v", round, version, len(replies), got, want)
		}
	}
}

func TestAPageWhoseRevisionIsCompacted(t *testing.T) {
	w := newWorld(t)
	first := w.url
	w.serve(w.store)
	second := w.url
	for _, name := range []string{"a", "b", "c"} {
		w.put(keyspace.GeneralNodes, name, storedGN(name, "a1", "", "Up"))
	}
	w.url = first
	next := "/api/v1/generalnodes?limit=1&continue=" + w.must(200, "GET", "/api/v1/generalnodes?limit=1", "").text("metadata.continue")
	revision := w.put(keyspace.GeneralNodes, "b", storedGN("b", "a1", "", "Down"))
	w.url = second
	if r := w.must(200, "GET", next, ""); r.names()[0] != "b" || !strings.Contains(r.raw, `"phase":"Up"`) {
		t.Errorf("the other replica shows the page of another revision: %s", r.raw)
	}
	if _, err := w.etcd.Client().Compact(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	for _, replica := range []string{first, second} { // they remember
		w.url = replica
		if r := w.must(200, "GET", next, ""); r.names()[0] != "b" || !strings.Contains(r.raw, `"phase":"Up"`) {
			t.Errorf("a replica that was there: %s", r.raw)
		}
	}
	w.serve(w.store)
	if r := w.must(410, "GET", next, ""); r.text("type") != typeCompacted {
		t.Error(r.raw)
	}
}

// Pages of a revision that no replica remembers are read from the store.
func TestPagesFromTheStore(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		name := fmt.Sprintf("g%02d", i)
		w.put(keyspace.GeneralNodes, name, storedGN(name, fmt.Sprintf("a%d", i%3), fmt.Sprintf(`"half":"%d"`, i/25), "Up"))
	}
	revision, err := w.store.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		w.remove(keyspace.GeneralNodes, fmt.Sprintf("g%02d", i))
	}
	half, faults := api.ParseLabelSelector("half=1")
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	kind := kindOf(keyspace.GeneralNodes)
	for name, c := range map[string]struct {
		query query
		want  int
	}{
		"all":              {query{kind: kind}, 50},
		"label":            {query{kind: kind, labels: half}, 25},
		"of an adapter":    {query{kind: kind, adapter: "a0"}, 17},
		"label, adapter":   {query{kind: kind, adapter: "a1", labels: half}, 9},
		"what is not seen": {query{kind: kind, visible: func(i *cache.Item) bool { return i.Name > "g44" }}, 5},
		"nothing":          {query{kind: kind, visible: func(*cache.Item) bool { return false }}, 0},
	} {
		for _, limit := range []int{1, 3, 7, 50, 1000} {
			at, got := page{revision: revision}, []string{}
			for pages := 0; ; pages++ {
				b := &pageBuilder{server: w.server, query: c.query, limit: limit}
				if err := b.read(t.Context(), at); err != nil {
					t.Fatal(err)
				}
				for _, item := range b.items {
					got = append(got, item.Name)
				}
				if !b.more {
					break
				}
				if at.after = b.last; len(b.items) != limit || pages > 60 {
					t.Fatalf("%s: a page of %d, limit %d", name, len(b.items), limit)
				}
			}
			if len(got) != c.want || !slices.IsSorted(got) || len(slices.Compact(got)) != c.want {
				t.Errorf("%s, limit %d: %v", name, limit, got)
			}
		}
	}
}

func TestSelectors(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.put(keyspace.GeneralNodes, "cam1", storedGN("cam1", "a1", `"kind":"camera","hall":"1"`, "Up"))
	w.put(keyspace.GeneralNodes, "cam2", storedGN("cam2", "a2", `"kind":"camera","hall":"2"`, "Down"))
	w.put(keyspace.GeneralNodes, "plc", storedGN("plc", "a1", `"kind":"plc"`, "Up"))
	w.put(keyspace.GeneralNodes, "bare", storedGN("bare", "a1", "", "Absent"))
	second := w.url
	for query, want := range map[string]string{
		"labelSelector=kind=camera":                                  "cam1 cam2",
		"labelSelector=kind=camera,hall!=2":                          "cam1",
		"labelSelector=kind in (camera,plc)":                         "cam1 cam2 plc",
		"labelSelector=kind notin (camera)":                          "bare plc",
		"labelSelector=hall":                                         "cam1 cam2",
		"labelSelector=!kind":                                        "bare",
		"fieldSelector=spec.adapter=a1":                              "bare cam1 plc",
		"fieldSelector=spec.adapter!=a1":                             "cam2",
		"fieldSelector=status.phase=Up&labelSelector=kind=camera":    "cam1",
		"fieldSelector=metadata.name=plc":                            "plc",
		"fieldSelector=spec.network=f,status.phase!=Up":              "bare cam2",
		"fieldSelector=spec.network=elsewhere":                       "",
		"fieldSelector=metadata.name=plc,metadata.name=cam1":         "",
		"labelSelector=&fieldSelector=":                              "bare cam1 cam2 plc",
		"labelSelector=kind=camera&fieldSelector=spec.adapter!=none": "cam1 cam2",
	} {
		query = strings.NewReplacer(" ", "%20", "!", "%21").Replace(query)
		names, _, replies := w.pages("/api/v1/generalnodes?limit=1&"+query, w.url, second)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
		if strings.Contains(query, "kind") && replies[0].at("metadata.remainingItemCount") != nil {
			t.Errorf("%s: a count of what remains that nobody knows", query)
		}
	}
	if got := w.must(200, "GET", "/api/v1/nodes?fieldSelector=status.phase=Up", ""); len(got.names()) != 0 {
		t.Error(got.raw)
	}
}

func TestListParametersThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.put(keyspace.GeneralNodes, "a", storedGN("a", "a1", "", "Up"))
	w.put(keyspace.GeneralNodes, "b", storedGN("b", "a1", "", "Up"))
	next := w.must(200, "GET", "/api/v1/generalnodes?limit=1&labelSelector=!x", "").text("metadata.continue")
	for query, want := range map[string]string{
		"limit=0":                           `query parameter "limit" must be at least 1`,
		"limit=1001":                        `query parameter "limit" must be at most 1000`,
		"limit=x":                           `query parameter "limit" must be a whole number`,
		"limit=1&limit=2":                   `query parameter "limit" is given twice`,
		"labelselector=x":                   `query parameter "labelselector" is unknown here; there are continue, fieldSelector, labelSelector, limit, resourceVersion, watch`,
		"labelSelector=a%3D%3D%3Db":         "/labelSelector",
		"fieldSelector=spec.mac=x":          "/fieldSelector",
		"fieldSelector=spec.network":        "/fieldSelector",
		"continue=AAAA":                     "continue is not one",
		"continue=" + next:                  "continue is not one", // of another selector
		"resourceVersion=7":                 "resourceVersion is possible with watch=true only",
		"watch=true&limit=5":                "limit and continue are for lists",
		"watch=true&continue=" + next:       "limit and continue are for lists",
		"watch=1":                           `query parameter "watch" must be true or false`,
		"watch=true&resourceVersion=latest": "is not one that the manager gave out",
		"watch=true&resourceVersion=-1":     "is not one that the manager gave out",
		"labelSelector=%ff":                 `query parameter "labelSelector" must be UTF-8`,
		"labelSelector=%zz":                 "malformed",
	} {
		r := w.must(400, "GET", "/api/v1/generalnodes?"+query, "")
		if !strings.Contains(r.text("detail"), want) || r.text("type") != typeInvalid {
			t.Errorf("%s: %s", query, r.raw)
		}
	}
	w.must(200, "GET", "/api/v1/generalnodes?limit=1&labelSelector=!x&continue="+next, "")
	w.must(400, "GET", "/api/v1/nodes?limit=1&labelSelector=!x&continue="+next, "")
}

// A list is never older than what was answered before it began, whichever
// replica was written to.
func TestListsAreLinearizable(t *testing.T) {
	w := newWorld(t)
	w.factory()
	first := w.url
	w.serve(w.store)
	replicas := []string{first, w.url}
	for i := range 40 {
		name := fmt.Sprintf("g%d", i)
		w.url = replicas[i%2]
		w.must(201, "POST", "/api/v1/generalnodes", gnBody(name, "f", "a1", fmt.Sprintf("02:00:00:00:01:%02x", i)))
		w.url = replicas[1-i%2]
		if names := w.must(200, "GET", "/api/v1/generalnodes", "").names(); !slices.Contains(names, name) {
			t.Fatalf("%s is not in the list of the other replica: %v", name, names)
		}
	}
}

func TestAPageIsBounded(t *testing.T) {
	item := func(name string, size int) *cache.Item { return &cache.Item{Name: name, Value: make([]byte, size)} }
	everything := func(*cache.Item) bool { return true }
	for name, c := range map[string]struct {
		builder pageBuilder
		size    int
		want    int
	}{
		"items": {pageBuilder{limit: 3}, 10, 3},
		"bytes": {pageBuilder{limit: 1000}, maxPageBytes / 4, 4},
		"scan":  {pageBuilder{limit: 1000, looked: maxPageScan - 5, query: query{visible: func(*cache.Item) bool { return false }}}, 10, 5},
		"all":   {pageBuilder{limit: 1000, query: query{visible: everything}}, 10, 20},
	} {
		b, n := c.builder, 0
		for n < 20 && b.add(item(fmt.Sprintf("i%02d", n), c.size)) {
			n++
		}
		if n != c.want || b.more != (n < 20) || b.last != fmt.Sprintf("i%02d", n-1) {
			t.Errorf("%s: %d looked at, last %q, more %v", name, n, b.last, b.more)
		}
	}
}
