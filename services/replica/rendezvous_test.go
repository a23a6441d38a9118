package replica

import (
	"fmt"
	"slices"
	"testing"
)

func TestRendezvousIsTheSameForEverybody(t *testing.T) {
	names := []string{"nms-0", "nms-1", "nms-2", "nms-3"}
	for key, want := range map[string][]string{
		"":                                     {"nms-2", "nms-1"},
		"a":                                    {"nms-1", "nms-2"},
		"5e1c8a8e-3a1e-4a0c-9a5e-0a3c1c9d2f10": {"nms-0", "nms-3"},
	} {
		if got := Rendezvous(key, names, 2); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
	backwards := slices.Clone(names)
	slices.Reverse(backwards)
	for i := range 1000 {
		key := fmt.Sprint(i)
		all := Rendezvous(key, names, 9)
		if !slices.Equal(all, Rendezvous([]byte(key), backwards, 9)) || len(all) != len(names) {
			t.Fatalf("%s: the order of the names matters: %q", key, all)
		}
		for n := range 4 {
			if got := Rendezvous(key, names, n); !slices.Equal(got, all[:n]) {
				t.Fatalf("%s: the first %d of %q are %q", key, n, all, got)
			}
		}
	}
	if got := Rendezvous("x", nil, 2); len(got) != 0 {
		t.Errorf("of nobody: %q", got)
	}
}

func TestRendezvousSpreadsEvenly(t *testing.T) {
	const keys = 100_000
	var names []string
	for i := range 7 {
		names = append(names, fmt.Sprintf("nms-000000000000000%d", i))
	}
	first, pair := make(map[string]int), make(map[string]int)
	for i := range keys {
		got := Rendezvous(fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), names, 2)
		first[got[0]]++
		pair[got[0]+got[1]]++
	}
	for name, n := range first {
		if even := keys / len(names); n < even*97/100 || n > even*103/100 {
			t.Errorf("%s has %d of %d keys", name, n, keys)
		}
	}
	if len(pair) != 42 {
		t.Errorf("%d pairs", len(pair))
	}
	for name, n := range pair {
		if even := keys / 42; n < even*90/100 || n > even*110/100 {
			t.Errorf("%s have %d keys, %d would be even", name, n, even)
		}
	}
}

func TestANameThatGoesMovesOnlyItsOwnKeys(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	for i := range 5000 {
		key := fmt.Sprint("key ", i)
		before := Rendezvous(key, names, 2)
		for _, gone := range names {
			rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == gone })
			after := Rendezvous(key, rest, 2)
			switch {
			case !slices.Contains(before, gone) && !slices.Equal(before, after):
				t.Fatalf("%s: %q went to %q though %s owned nothing", key, before, after, gone)
			case before[0] == gone && after[0] != before[1]:
				t.Fatalf("%s: the second owner %s does not follow the first: %q", key, before[1], after)
			}
		}
	}
}

func TestRendezvousAllocatesNothingWithRoom(t *testing.T) {
	names, room, key := []string{"a", "b", "c", "d", "e"}, make([]string, 0, 2), []byte("0123456789abcdef")
	if n := testing.AllocsPerRun(100, func() { room = AppendRendezvous(room[:0], key, names, 2) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRendezvousOfTen(b *testing.B) {
	var names []string
	for i := range 10 {
		names = append(names, fmt.Sprintf("nms-000000000000000%d", i))
	}
	room, key := make([]string, 0, 2), "5e1c8a8e-3a1e-4a0c-9a5e-0a3c1c9d2f10"
	for b.Loop() {
		room = AppendRendezvous(room[:0], key, names, 2)
	}
}
