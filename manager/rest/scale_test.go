package rest

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// folder is the size of the folder that the tests apply, parallel the number of
// connections that they use.
const (
	folder   = 1000
	parallel = 16
)

// devicesAround is the number of devices that are there already, from
// CYPHONIC_SCALE_DEVICES: 1000000 takes a few minutes.
func devicesAround(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CYPHONIC_SCALE_DEVICES")
	if text == "" {
		return 2000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// populate writes general nodes as the manager writes them, without the
// manager.
func (w *world) populate(n int) {
	w.t.Helper()
	w.must(201, "POST", "/api/v1/networks", resource("Network", "big", `{"ipv4Prefix":"10.0.0.0/8","ipv6Prefix":"fd00:1::/64","domain":"big.example.internal"}`))
	w.must(201, "POST", "/api/v1/adapters", resource("Adapter", "a", `{"network":"big"}`))
	var tx store.Transaction
	for i := range n {
		name, mac := fmt.Sprintf("old-%07d", i), fmt.Sprintf("02:00:00:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255)
		address := fmt.Sprintf("10.%d.%d.%d", (i+2)>>16&255, (i+2)>>8&255, (i+2)&255)
		value := fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":"GeneralNode","metadata":{"creationTimestamp":"2030-01-01T00:00:00Z","generation":1,"labels":{"role":"camera"},"name":%q,`+
			`"uid":"u-%d","updateTimestamp":"2030-01-01T00:00:00Z"},"spec":{"adapter":"a","addressMode":"ipv4","authentication":{"method":"mac"},"mac":%q,"network":"big"},`+
			`"status":{"fqdn":"%s.big.example.internal","phase":"Absent","virtualIPv4":%q}}`, name, i, mac, name, address)
		owner := keyspace.Encode(keyspace.Owner{Kind: keyspace.GeneralNodes, Name: name, UID: fmt.Sprint("u-", i)})
		tx.Writes = append(
			tx.Writes, store.Put(keyspace.Resource(keyspace.GeneralNodes, name), []byte(value)),
			store.Put(keyspace.Root+"ipam/big/4/"+address, owner), store.Put(keyspace.UniqueMAC("big", mac), owner),
			store.Put(keyspace.UniqueFQDN("big", name+".big.example.internal"), owner),
			store.Put(keyspace.Reference(keyspace.Networks, "big", keyspace.GeneralNodes, name), owner),
			store.Put(keyspace.Reference(keyspace.Adapters, "a", keyspace.GeneralNodes, name), owner),
		)
		if len(tx.Writes)+6 > store.MaxWrites || i == n-1 {
			if _, err := w.store.Commit(w.t.Context(), tx); err != nil {
				w.t.Fatal(err)
			}
			tx.Writes = tx.Writes[:0]
		}
	}
}

func newDevice(i int) (name, body string) {
	name = fmt.Sprintf("new-%04d", i)
	return name, gnBody(name, "big", "a", fmt.Sprintf("06:00:00:00:%02x:%02x", i>>8, i&255))
}

// inParallel does something folder times through parallel connections and
// returns how long it took.
func (w *world) inParallel(f func(i int)) time.Duration {
	start := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < folder; i = next.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// TestAFolderAmongManyDevices applies, plans and deletes a folder of 1,000
// general nodes. With CYPHONIC_SCALE_DEVICES set it holds the times against
// what is promised for a machine on which nothing else runs.
func TestAFolderAmongManyDevices(t *testing.T) {
	strict := os.Getenv("CYPHONIC_SCALE_DEVICES") != ""
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = parallel
	defer func() { http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 0 }()
	w := newWorld(t)
	start := time.Now()
	w.populate(devicesAround(t))
	t.Logf("%d devices after %v", devicesAround(t), time.Since(start))
	w.fresh()
	t.Logf("in the cache after %v", time.Since(start))
	check := func(what string, took, limit time.Duration) {
		t.Helper()
		t.Logf("%s: %v", what, took)
		if strict && took > limit {
			t.Errorf("%s took %v, more than %v", what, took, limit)
		}
	}
	items := make([]string, folder)
	for i := range items {
		_, items[i] = newDevice(i)
	}
	plan := func(what, verdict string) {
		start := time.Now()
		r := w.planOf(200, items, `,"fieldManager":"m"`)
		check(what, time.Since(start), 2*time.Second)
		if n := strings.Count(r.raw, `"verdict":"`+verdict+`"`); n != folder {
			t.Fatalf("%s: %d items are %s: %s", what, n, verdict, r.raw[:min(len(r.raw), 2000)])
		}
	}
	start = time.Now()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("first", "big", "a", "0a:00:00:00:00:01"))
	check("first creation, which reads the addresses in use", time.Since(start), 15*time.Second)
	plan("plan of new resources", "created")
	apply := func(code int) func(int) {
		return func(i int) {
			name, body := newDevice(i)
			if r := w.do("PATCH", "/api/v1/generalnodes/"+name+"?fieldManager=m", w.admin, body, with{"Content-Type", applyPatchType}); r.code != code {
				t.Errorf("%d %s", r.code, r.raw)
			}
		}
	}
	check("apply of new resources", w.inParallel(apply(201)), 5*time.Second)
	check("apply of what is so", w.inParallel(apply(200)), 5*time.Second)
	w.fresh()
	plan("plan of what is so", "unchanged")
	check("deletion", w.inParallel(func(i int) {
		name, _ := newDevice(i)
		if r := w.do("DELETE", "/api/v1/generalnodes/"+name, w.admin, ""); r.code != 200 {
			t.Errorf("%d %s", r.code, r.raw)
		}
	}), 5*time.Second)
}
