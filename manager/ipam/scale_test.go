package ipam

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/overlay"
)

// million is a store in which n addresses of each family are in use.
type million struct {
	store.Store
	n     int
	lists *int
}

func (m million) List(_ context.Context, prefix string, o store.ListOptions) (store.Listing, error) {
	*m.lists++
	v6 := prefix == keyspace.IPAMPrefix("large", true)
	from := 0
	if o.After != "" {
		_, last, _ := keyspace.ParseIPAMAddress(o.After)
		from = int(indexOf(last)) + 1
	}
	var l store.Listing
	for i := from; i < min(m.n, from+o.Limit); i++ {
		l.Entries = append(l.Entries, store.Entry{Key: keyspace.IPAMAddress("large", inUse(i, v6))})
	}
	l.More = from+o.Limit < m.n
	return l, nil
}

func inUse(i int, v6 bool) netip.Addr {
	b := [16]byte{0: 0xfd}
	if !v6 {
		return netip.AddrFrom4([4]byte{10, byte((i + 2) >> 16), byte((i + 2) >> 8), byte(i + 2)})
	}
	binary.BigEndian.PutUint64(b[8:], uint64(i+2))
	return netip.AddrFrom16(b)
}

func indexOf(a netip.Addr) uint64 {
	b := a.As16()
	if a.Is4() {
		return uint64(binary.BigEndian.Uint32(b[12:])&0xffffff) - 2
	}
	return binary.BigEndian.Uint64(b[8:]) - 2
}

func (m million) Commit(context.Context, store.Transaction) (int64, error) { return 1, nil }

func large() Network {
	return Network{Name: "large", IPv4: netip.MustParsePrefix("10.0.0.0/8"), IPv6: netip.MustParsePrefix("fd00::/64")}
}

// maxBytesPerAddress bounds what an address in use costs in memory.
const maxBytesPerAddress = 4

func TestAMillionAddressesCostLittleAndAllocationStaysFast(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	lists := 0
	a := New(million{n: n, lists: &lists})
	before := heap()
	start := time.Now()
	d := &device{net: large(), name: "first"}
	if err := d.apply(a, Want{Needed: true}, Want{Needed: true}); err != nil {
		t.Fatal(err)
	}
	loading := time.Since(start)
	if d.ipv4 != inUse(n, false) || d.ipv6 != inUse(n, true) {
		t.Fatalf("got %s and %s", d.ipv4, d.ipv6)
	}
	bytes := float64(int64(heap())-int64(before)) / float64(2*n)
	read := lists
	start = time.Now()
	const more = 10_000
	var gone []*device
	for i := range more {
		d := &device{net: large(), name: fmt.Sprint(i)}
		if err := d.apply(a, Want{Needed: true}, Want{Needed: true}); err != nil {
			t.Fatal(err)
		}
		gone = append(gone, d)
	}
	each := time.Since(start) / more
	start = time.Now()
	low := &device{net: large(), name: "low", ipv4: inUse(0, false), ipv6: inUse(0, true)}
	for range more { // frees the lowest address, takes it, takes the next
		if err := errors.Join(low.apply(a, Want{}, Want{}), low.apply(a, Want{Needed: true}, Want{Needed: true}), gone[0].apply(a, Want{}, Want{}),
			gone[0].apply(a, Want{Needed: true}, Want{Needed: true})); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d addresses of each family: loaded in %v, %.2f bytes each; a device with both takes %v, after a change below all of them %v",
		n, loading.Round(time.Millisecond), bytes, each, time.Since(start)/more/4)
	if each > time.Millisecond || time.Since(start)/more/4 > time.Millisecond || lists != read {
		t.Errorf("an allocation costs what depends on the number of addresses: %v, %d lists", each, lists-read)
	}
	if bytes > maxBytesPerAddress {
		t.Errorf("an address costs %.1f bytes", bytes)
	}
	runtime.KeepAlive(a)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Another manager has allocated thousands of addresses since the pool was read.
func TestAnAllocatorThatFellBehindCatchesUp(t *testing.T) {
	s := open(t)
	n := Network{Name: "n", IPv4: netip.MustParsePrefix("10.0.0.0/16")}
	slow, fast := New(s), New(s)
	first := &device{net: n, name: "first"}
	if err := first.apply(slow, Want{Needed: true}, Want{}); err != nil {
		t.Fatal(err)
	}
	const ahead = 3000
	var tx store.Transaction
	for i := range ahead {
		tx.Writes = append(tx.Writes, store.Put(keyspace.IPAMAddress("n", inUse(i+1, false)), nil))
		if len(tx.Writes) == store.MaxWrites || i == ahead-1 {
			if _, err := s.Commit(t.Context(), tx); err != nil {
				t.Fatal(err)
			}
			tx.Writes = nil
		}
	}
	start := time.Now()
	for i := range 20 {
		for _, a := range []*Allocator{slow, fast} {
			d := &device{net: n, name: fmt.Sprintf("d%d", i)}
			if err := d.apply(a, Want{Needed: true}, Want{}); err != nil {
				t.Fatalf("device %d: %v", i, err)
			}
		}
	}
	t.Logf("40 devices by two allocators of which one was %d addresses behind: %v", ahead, time.Since(start))
}

// A rehearsal sees what is in use, and what it does itself is seen by nobody.
func TestAnAllocatorOnAnOverlayKeepsToItself(t *testing.T) {
	s := open(t)
	a := New(s)
	n := network("n") // five addresses
	held := &device{net: n, name: "held"}
	if err := held.apply(a, Want{Needed: true}, Want{Needed: true}); err != nil {
		t.Fatal(err)
	}
	trial := a.On(overlay.New(s))
	copied := *held
	for i, want := range []string{"10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"} {
		d := &device{net: n, name: fmt.Sprintf("t%d", i)}
		if err := d.apply(trial, Want{Needed: true}, Want{}); err != nil || d.ipv4.String() != want {
			t.Fatalf("got %s, %v, want %s", d.ipv4, err, want)
		}
	}
	late := &device{net: n, name: "late"}
	if err := late.apply(trial, Want{Needed: true}, Want{}); !errors.Is(err, ErrFull) {
		t.Fatalf("a sixth device: %v", err)
	}
	if err := late.apply(trial, fixed("10.0.0.2"), Want{}); !errors.Is(err, ErrTaken) {
		t.Fatalf("an address that is in use in reality: %v", err)
	}
	if err := copied.apply(trial, Want{}, Want{}); err != nil {
		t.Fatal(err)
	}
	if err := late.apply(trial, Want{Needed: true}, Want{}); err != nil || late.ipv4.String() != "10.0.0.2" {
		t.Fatalf("an address that was freed in the trial: %s, %v", late.ipv4, err)
	}
	next := &device{net: n, name: "next"}
	if err := next.apply(a, Want{Needed: true}, Want{}); err != nil || next.ipv4.String() != "10.0.0.3" {
		t.Fatalf("in reality: %s, %v", next.ipv4, err)
	}
	if count, err := s.Count(t.Context(), keyspace.IPAMPrefix("n", false)); err != nil || count != 2 {
		t.Errorf("%d addresses are in the store, %v", count, err)
	}
}

func TestSetsDoWhatMapsDo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, m := newSet(), map[position]bool{}
		hi := rapid.SampledFrom([]uint64{0, 1, 1 << 63, ^uint64(0) - 1})
		lo := rapid.OneOf(rapid.Uint64Range(0, 200), rapid.Uint64Range(^uint64(0)-100, ^uint64(0)), rapid.Uint64())
		at := rapid.Custom(func(rt *rapid.T) position { return position{hi.Draw(rt, "hi"), lo.Draw(rt, "lo")} })
		for range rapid.IntRange(0, 8).Draw(rt, "runs") {
			from, n, add := at.Draw(rt, "at"), rapid.IntRange(1, 300).Draw(rt, "n"), rapid.IntRange(0, 3).Draw(rt, "add") > 0
			for range n {
				if was := m[from]; add && s.add(from) == was {
					rt.Fatalf("add %v: it was there: %v", from, was)
				}
				if add {
					m[from] = true
				} else {
					s.remove(from)
					delete(m, from)
				}
				from = from.next()
			}
		}
		if s.count != len(m) {
			rt.Fatalf("count %d of %d", s.count, len(m))
		}
		from := at.Draw(rt, "from")
		want := from
		for m[want] {
			want = want.next()
		}
		if got := s.free(from); got != want || s.has(from) != m[from] {
			rt.Fatalf("free from %v: got %v, want %v", from, got, want)
		}
		var lowest position
		found := false
		for p := range m {
			if !p.less(from) && (!found || p.less(lowest)) {
				lowest, found = p, true
			}
		}
		if got, ok := s.lowest(from); got != lowest || ok != found {
			rt.Fatalf("lowest from %v: got %v %v, want %v %v", from, got, ok, lowest, found)
		}
	})
}

func TestPositionsAndAddressesMatch(t *testing.T) {
	for _, row := range []struct {
		prefix, addr string
		at           position
	}{
		{"10.0.0.0/8", "10.0.0.0", position{}},
		{"10.0.0.0/8", "10.1.2.3", position{0, 0x010203}},
		{"fd00::/64", "fd00::ffff:ffff:ffff:ffff", position{0, ^uint64(0)}},
		{"fd00::/16", "fd00:0:0:1::", position{1, 0}},
		{"fd00:0:0:0:8000::/65", "fd00::8000:0:0:1", position{0, 1}},
	} {
		prefix := netip.MustParsePrefix(row.prefix)
		p := newPools(nil, nil).get("n", prefix)
		if got := p.position(netip.MustParseAddr(row.addr)); got != row.at {
			t.Errorf("%s in %s is at %v, want %v", row.addr, row.prefix, got, row.at)
		}
		if got := p.address(row.at); got.String() != row.addr {
			t.Errorf("%v of %s is %s, want %s", row.at, row.prefix, got, row.addr)
		}
	}
	p := newPools(nil, nil).get("n", netip.MustParsePrefix("255.255.255.0/24"))
	if got := p.address(position{0, 256}); got.IsValid() {
		t.Errorf("beyond the end: %s", got)
	}
}
