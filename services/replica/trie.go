package replica

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
)

// trie is a map of which snapshots cost nothing: a hash array mapped trie (Bagwell, 2001; in the compressed form of
// Steindorfer and Vinju, 2015). Of a million entries a change copies the five nodes between the root and the entry, and
// leaves the rest to be shared with the snapshots taken before. Entries hold their key themselves, so that an index
// costs some 30 bytes an entry.
//
// One goroutine changes a trie; snapshots are safe for concurrent reading.
type trie[K comparable, V any] struct {
	key  func(V) K
	hash func(K) uint64

	root       *trieNode[V]
	size       int
	generation uint64 // nodes of this generation are in no snapshot and are changed in place
}

// trieNode has a slot for each value of five bits of the hash, of which only those in use are stored: with an entry or
// with another node. Below all bits of the hash, entries stands for a list and the maps are not used.
type trieNode[V any] struct {
	generation uint64
	entryMap   uint32
	nodeMap    uint32
	entries    []V
	nodes      []*trieNode[V]
}

const (
	trieBits = 5
	trieMask = 1<<trieBits - 1
	hashBits = 64
)

// newTrie returns an empty trie of entries with the given key.
func newTrie[K comparable, V any](key func(V) K) trie[K, V] {
	seed := maphash.MakeSeed()
	return trie[K, V]{key: key, hash: func(k K) uint64 { return maphash.Comparable(seed, k) }, generation: 1}
}

// snapshot returns the trie as it is now; later changes do not reach it. It must not be changed itself.
func (t *trie[K, V]) snapshot() trie[K, V] {
	s := *t
	t.generation++
	return s
}

// get returns the entry with the key.
func (t *trie[K, V]) get(k K) (v V, ok bool) {
	if t.root == nil {
		return v, false
	}
	h, n := t.hash(k), t.root
	for shift := 0; shift < hashBits; shift += trieBits {
		bit := slot(h, shift)
		switch {
		case n.entryMap&bit != 0:
			v = n.entries[position(n.entryMap, bit)]
			if t.key(v) == k {
				return v, true
			}
			var none V
			return none, false
		case n.nodeMap&bit != 0:
			n = n.nodes[position(n.nodeMap, bit)]
		default:
			return v, false
		}
	}
	for _, v := range n.entries {
		if t.key(v) == k {
			return v, true
		}
	}
	return v, false
}

func slot(h uint64, shift int) uint32 { return 1 << (h >> shift & trieMask) }

// position is how many slots in use there are before the one of bit.
func position(m, bit uint32) int { return bits.OnesCount32(m & (bit - 1)) }

// put adds an entry, in place of the one that has the same key.
func (t *trie[K, V]) put(v V) {
	if t.root == nil {
		t.root = &trieNode[V]{generation: t.generation}
	}
	k := t.key(v)
	t.root = t.insert(t.root, v, k, t.hash(k), 0)
}

// own returns a node that may be changed in place.
func (t *trie[K, V]) own(n *trieNode[V]) *trieNode[V] {
	if n.generation == t.generation {
		return n
	}
	return &trieNode[V]{
		generation: t.generation, entryMap: n.entryMap, nodeMap: n.nodeMap,
		entries: slices.Clone(n.entries), nodes: slices.Clone(n.nodes),
	}
}

func (t *trie[K, V]) insert(n *trieNode[V], v V, k K, h uint64, shift int) *trieNode[V] {
	n = t.own(n)
	if shift >= hashBits {
		if i := slices.IndexFunc(n.entries, func(x V) bool { return t.key(x) == k }); i >= 0 {
			n.entries[i] = v
			return n
		}
		n.entries = insertedAt(n.entries, len(n.entries), v)
		t.size++
		return n
	}
	bit := slot(h, shift)
	at, below := position(n.entryMap, bit), position(n.nodeMap, bit)
	switch {
	case n.nodeMap&bit != 0:
		n.nodes[below] = t.insert(n.nodes[below], v, k, h, shift+trieBits)
	case n.entryMap&bit == 0:
		n.entries = insertedAt(n.entries, at, v)
		n.entryMap |= bit
		t.size++
	case t.key(n.entries[at]) == k:
		n.entries[at] = v
	default: // two entries in one slot go one node down
		other := n.entries[at]
		key := t.key(other)
		child := t.insert(&trieNode[V]{generation: t.generation}, other, key, t.hash(key), shift+trieBits)
		t.size-- // it was counted before
		n.nodes = insertedAt(n.nodes, below, t.insert(child, v, k, h, shift+trieBits))
		n.nodeMap |= bit
		n.entries = removedAt(n.entries, at)
		n.entryMap &^= bit
	}
	return n
}

// insertedAt and removedAt return a list of exactly the needed size: spare room in every node would double the trie.
func insertedAt[E any](list []E, i int, e E) []E {
	out := make([]E, len(list)+1)
	copy(out, list[:i])
	out[i] = e
	copy(out[i+1:], list[i:])
	return out
}

func removedAt[E any](list []E, i int) []E {
	if len(list) == 1 {
		return nil
	}
	out := make([]E, len(list)-1)
	copy(out, list[:i])
	copy(out[i:], list[i+1:])
	return out
}

// remove removes the entry with the key, if there is one.
func (t *trie[K, V]) remove(k K) {
	if _, ok := t.get(k); ok {
		t.root = t.cut(t.root, k, t.hash(k), 0)
		t.size--
	}
}

// cut removes an entry that is there. A node with one entry and nothing else becomes an entry of its parent, so that
// what a trie looks like depends on its entries only.
func (t *trie[K, V]) cut(n *trieNode[V], k K, h uint64, shift int) *trieNode[V] {
	n = t.own(n)
	if shift >= hashBits {
		n.entries = removedAt(n.entries, slices.IndexFunc(n.entries, func(x V) bool { return t.key(x) == k }))
		return n
	}
	bit := slot(h, shift)
	at := position(n.entryMap, bit)
	if n.entryMap&bit != 0 {
		n.entries = removedAt(n.entries, at)
		n.entryMap &^= bit
		return n
	}
	below := position(n.nodeMap, bit)
	child := t.cut(n.nodes[below], k, h, shift+trieBits)
	if len(child.entries) != 1 || len(child.nodes) > 0 {
		n.nodes[below] = child
		return n
	}
	n.nodes = removedAt(n.nodes, below)
	n.nodeMap &^= bit
	n.entries = insertedAt(n.entries, at, child.entries[0])
	n.entryMap |= bit
	return n
}

// all yields every entry, in no order.
func (t *trie[K, V]) all() iter.Seq[V] {
	return func(yield func(V) bool) {
		if t.root != nil {
			t.root.all(yield)
		}
	}
}

func (n *trieNode[V]) all(yield func(V) bool) bool {
	for _, v := range n.entries {
		if !yield(v) {
			return false
		}
	}
	for _, child := range n.nodes {
		if !child.all(yield) {
			return false
		}
	}
	return true
}
