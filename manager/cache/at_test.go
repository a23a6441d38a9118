package cache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// What At says of a revision is what the store says of it.
func TestTheStateAtAnEarlierRevision(t *testing.T) {
	d := openDatabase(t)
	first := d.put("n00", "a0", nil)
	c := start(t, d)
	random := rand.New(rand.NewPCG(1, 2))
	revisions := []int64{first}
	for range 300 {
		name := fmt.Sprintf("n%02d", random.IntN(30))
		switch random.IntN(4) {
		case 0:
			d.remove(name) // may be absent: nothing happens
		case 1:
			d.elsewhere()
		default:
			revisions = append(revisions, d.put(name, fmt.Sprintf("a%d", random.IntN(3)), nil))
		}
	}
	fresh(t, c)
	for _, revision := range revisions {
		l, err := d.List(t.Context(), keyspace.ResourcePrefix(keyspace.GeneralNodes), store.ListOptions{Revision: revision})
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		byAdapter := map[string]int{}
		for _, e := range l.Entries {
			i, err := newDecoder().item(e.Key[len(keyspace.ResourcePrefix(keyspace.GeneralNodes)):], e)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, fmt.Sprintf("%s@%d", i.Name, i.Revision))
			byAdapter[i.Adapter]++
		}
		view, ok := c.At(keyspace.GeneralNodes, revision)
		if !ok || view.Revision() != revision || view.Len() != len(want) {
			t.Fatalf("revision %d: %v, %d of %d resources at %d", revision, ok, view.Len(), len(want), view.Revision())
		}
		var got []string
		view.Ascend("", func(i *Item) bool {
			got = append(got, fmt.Sprintf("%s@%d", i.Name, i.Revision))
			return true
		})
		if !slices.Equal(got, want) {
			t.Fatalf("revision %d:\n got %v\nwant %v", revision, got, want)
		}
		for adapter, n := range byAdapter {
			view.CarriedBy(adapter, "", func(*Item) bool { n--; return true })
			if n != 0 {
				t.Fatalf("revision %d: adapter %s carries %d more", revision, adapter, n)
			}
		}
	}
	if _, ok := c.At(keyspace.GeneralNodes, c.View("").Revision()+1); ok {
		t.Error("a revision of the future")
	}
	if _, ok := c.At(keyspace.GeneralNodes, 0); ok {
		t.Error("a revision before the history")
	}
}
