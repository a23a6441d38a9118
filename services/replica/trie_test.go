package replica

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type entry struct{ key, value int }

// testTrie is a trie with a hash of the given number of different values.
func testTrie(hashes uint64) trie[int, *entry] {
	t := newTrie(func(e *entry) int { return e.key })
	if good := t.hash; hashes > 0 {
		t.hash = func(k int) uint64 { return good(k) % hashes }
	}
	return t
}

func contents(t *trie[int, *entry]) map[int]int {
	m := make(map[int]int)
	for e := range t.all() {
		m[e.key] = e.value
	}
	return m
}

func TestATrieIsAMapWhoseSnapshotsStay(t *testing.T) {
	for _, hashes := range []uint64{0, 1, 3, 1000} {
		rapid.Check(t, func(t *rapid.T) {
			subject, model := testTrie(hashes), make(map[int]int)
			type moment struct {
				trie  trie[int, *entry]
				model map[int]int
			}
			var past []moment
			for range rapid.IntRange(1, 200).Draw(t, "steps") {
				k := rapid.IntRange(0, 60).Draw(t, "key")
				switch rapid.IntRange(0, 4).Draw(t, "what") {
				case 0, 1:
					v := rapid.Int().Draw(t, "value")
					subject.put(&entry{k, v})
					model[k] = v
				case 2, 3:
					subject.remove(k)
					delete(model, k)
				case 4:
					past = append(past, moment{subject.snapshot(), maps.Clone(model)})
				}
				got, ok := subject.get(k)
				if want, known := model[k]; ok != known || ok && got.value != want {
					t.Fatalf("key %d: %v %v, want %d %v", k, got, ok, want, known)
				}
			}
			past = append(past, moment{subject, model})
			for i, m := range past {
				if got := contents(&m.trie); !maps.Equal(got, m.model) || m.trie.size != len(m.model) {
					t.Fatalf("snapshot %d has %d entries %v, want %v", i, m.trie.size, got, m.model)
				}
				for k := range m.model {
					if _, ok := m.trie.get(k); !ok {
						t.Fatalf("snapshot %d does not find %d", i, k)
					}
				}
			}
		})
	}
}

func TestATrieIsEmptyAgain(t *testing.T) {
	for _, hashes := range []uint64{0, 1, 7} {
		subject := testTrie(hashes)
		for k := range 1000 {
			subject.put(&entry{k, k})
		}
		for k := range 1000 {
			subject.remove(k)
		}
		if n := len(slices.Collect(subject.all())); n != 0 || subject.size != 0 || len(subject.root.nodes) != 0 {
			t.Errorf("%d hashes: %d entries and %d nodes are left", hashes, n, len(subject.root.nodes))
		}
	}
}

// nodesOf collects the nodes below n.
func nodesOf(n *trieNode[*entry], into map[*trieNode[*entry]]bool) {
	into[n] = true
	for _, child := range n.nodes {
		nodesOf(child, into)
	}
}

func TestAChangeCopiesOnlyThePathToIt(t *testing.T) {
	subject := testTrie(0)
	for k := range 100_000 {
		subject.put(&entry{k, k})
	}
	before := subject.snapshot()
	subject.put(&entry{5, -5})
	old, now := make(map[*trieNode[*entry]]bool), make(map[*trieNode[*entry]]bool)
	nodesOf(before.root, old)
	nodesOf(subject.root, now)
	fresh := 0
	for n := range now {
		if !old[n] {
			fresh++
		}
	}
	if fresh < 1 || fresh > 8 {
		t.Errorf("%d of %d nodes were copied", fresh, len(now))
	}
}

func TestLookingUpAllocatesNothing(t *testing.T) {
	s := filled(t, 1000)
	snapshot, _ := s.snapshot(time.Now())
	wanted := snapshot.Subject(Ref{"nodes", "device-0000500"})
	if wanted == nil {
		t.Fatal("device 500 is missing")
	}
	allocs := testing.AllocsPerRun(100, func() {
		if snapshot.SubjectByUID(wanted.UID) != wanted || snapshot.Subject(wanted.Ref) != wanted ||
			snapshot.SubjectByAddr(wanted.Network, wanted.IPv4) != wanted || snapshot.SubjectByAddr(wanted.Network, wanted.IPv6) != wanted ||
			snapshot.SubjectByFQDN(wanted.Network, wanted.FQDN) != wanted || snapshot.PolicyVersion(wanted.Network) == 0 {
			t.Fatal("device 500 is not found")
		}
		if _, ok := snapshot.Enrolled(wanted); !ok {
			t.Fatal("its key is not found")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
