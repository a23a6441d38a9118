package etcd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cyphonic/cyphonic/manager/store"
)

// oddKeys are keys of every shape, in their order: long and short ones, ones
// that begin like others, deep and flat ones, bytes at the ends of the alphabet.
func oddKeys(random *rand.Rand, prefix string, n int) []string {
	var keys []string
	for range n {
		key := prefix
		for range 1 + random.IntN(4) {
			switch random.IntN(5) {
			case 0:
				key += fmt.Sprintf("device-%05d", random.IntN(3000))
			case 1:
				key += string([]byte{byte(random.IntN(256))})
			case 2:
				key += "\xff\xff"
			case 3:
				key += fmt.Sprintf("%d/", random.IntN(20))
			default:
				key += "a/b"
			}
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// However a list is cut into ranges by etcd itself, it has every key once and in
// order, and says whether there is more.
func TestAListOfOddKeysMissesNothing(t *testing.T) {
	e, err := StartEmbedded(t.Context(), t.TempDir(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s := NewStore(e.Client())
	random := rand.New(rand.NewPCG(1, 2))
	const prefix = "/odd/"
	keys := oddKeys(random, prefix, 4000)
	for part := range slices.Chunk(append(slices.Clone(keys), "/od", "/odc", "/odd0"), store.MaxWrites) {
		var tx store.Transaction
		for _, key := range part {
			tx.Writes = append(tx.Writes, store.Put(key, nil))
		}
		if _, err := s.Commit(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	for range 60 {
		o := store.ListOptions{KeysOnly: random.IntN(2) == 0, Limit: []int{0, 1, 17, 1000, 1500, len(keys)}[random.IntN(6)]}
		if random.IntN(4) > 0 {
			o.After = keys[random.IntN(len(keys))]
			if random.IntN(3) == 0 {
				o.After += string([]byte{byte(random.IntN(256))})
			}
		}
		l, err := s.List(t.Context(), prefix, o)
		if err != nil {
			t.Fatal(err)
		}
		want := keys[min(len(keys), searchAfter(keys, o.After)):]
		more := o.Limit > 0 && len(want) > o.Limit
		if more {
			want = want[:o.Limit]
		}
		var got []string
		for _, entry := range l.Entries {
			got = append(got, entry.Key)
		}
		if !slices.Equal(got, want) || l.More != more || l.Revision == 0 {
			t.Fatalf("after %q, limit %d: %d keys of %d, more: %v, not %v", o.After, o.Limit, len(got), len(want), l.More, more)
		}
	}
}

func searchAfter(keys []string, after string) int {
	i, found := slices.BinarySearch(keys, after)
	if found {
		i++
	}
	return i
}
