package ipam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

func open(t *testing.T) store.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := etcd.StartEmbedded(ctx, t.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return etcd.NewStore(e.Client())
}

func network(name string) Network {
	return Network{Name: name, IPv4: netip.MustParsePrefix("10.0.0.0/29"), IPv6: netip.MustParsePrefix("fd00::/120")}
}

// device is what the tests allocate for.
type device struct {
	net        Network
	name       string
	ipv4, ipv6 netip.Addr
}

func (d *device) apply(a *Allocator, want4, want6 Want) error {
	want4.Current, want6.Current = d.ipv4, d.ipv6
	change := Change{Network: d.net, Owner: keyspace.Owner{Kind: "nodes", Name: d.name}, IPv4: want4, IPv6: want6}
	var four, six netip.Addr
	_, err := a.Commit(context.Background(), change, func(ipv4, ipv6 netip.Addr) (store.Transaction, error) {
		four, six = ipv4, ipv6
		return store.Transaction{Writes: []store.Write{store.Put("/device/"+d.net.Name+"/"+d.name, nil)}}, nil
	})
	if err == nil {
		d.ipv4, d.ipv6 = four, six
	}
	return err
}

func fixed(s string) Want { return Want{Needed: true, Fixed: netip.MustParseAddr(s)} }

func TestAllocationsAreTheLowestFreeAndSkipReserved(t *testing.T) {
	a := New(open(t))
	n := network("n")
	var devices []*device
	for i := range 5 {
		d := &device{net: n, name: fmt.Sprint(i)}
		if err := d.apply(a, Want{Needed: true}, Want{Needed: true}); err != nil {
			t.Fatal(err)
		}
		want4, want6 := fmt.Sprintf("10.0.0.%d", i+2), fmt.Sprintf("fd00::%d", i+2)
		if d.ipv4.String() != want4 || d.ipv6.String() != want6 {
			t.Fatalf("device %d got %s and %s, want %s and %s", i, d.ipv4, d.ipv6, want4, want6)
		}
		devices = append(devices, d)
	}
	late := &device{net: n, name: "late"}
	if err := late.apply(a, Want{Needed: true}, Want{}); !errors.Is(err, ErrFull) {
		t.Fatalf("sixth device in a /29: %v", err)
	}
	if err := devices[2].apply(a, Want{}, Want{Needed: true}); err != nil {
		t.Fatal(err)
	}
	if err := late.apply(a, Want{Needed: true}, Want{}); err != nil || late.ipv4.String() != "10.0.0.4" {
		t.Fatalf("the freed address was not used again: %s, %v", late.ipv4, err)
	}
}

func TestAFailedFamilyGivesTheOtherBack(t *testing.T) {
	s := open(t)
	a := New(s)
	n := network("n")
	d := &device{net: n, name: "d"}
	if err := d.apply(a, Want{Needed: true}, fixed("fd01::5")); !errors.Is(err, ErrOutside) {
		t.Fatal(err)
	}
	if err := d.apply(a, Want{Needed: true}, Want{}); err != nil || d.ipv4.String() != "10.0.0.2" {
		t.Fatalf("got %s, %v", d.ipv4, err)
	}
	if count, _ := s.Count(context.Background(), keyspace.IPAMPrefix("n", true)); count != 0 {
		t.Fatalf("%d IPv6 addresses are left", count)
	}
}

func TestFixedAddresses(t *testing.T) {
	a := New(open(t))
	n := network("n")
	holder := &device{net: n, name: "holder"}
	if err := holder.apply(a, fixed("10.0.0.3"), Want{}); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, addr string
		want       error
	}{
		{"taken", "10.0.0.3", ErrTaken},
		{"network address", "10.0.0.0", ErrOutside},
		{"gateway", "10.0.0.1", ErrOutside},
		{"broadcast", "10.0.0.7", ErrOutside},
		{"elsewhere", "10.0.1.2", ErrOutside},
		{"other family", "fd00::2", ErrOutside},
	}
	for _, c := range cases {
		d := &device{net: n, name: "d"}
		err := d.apply(a, fixed(c.addr), Want{})
		var e *Error
		if !errors.Is(err, c.want) || !errors.As(err, &e) || e.Addr.String() != c.addr {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	other := &device{net: n, name: "other"}
	for _, want := range []string{"10.0.0.2", "10.0.0.4"} { // 3 is skipped
		other.ipv4 = netip.Addr{}
		if err := other.apply(a, Want{Needed: true}, Want{}); err != nil || other.ipv4.String() != want {
			t.Fatalf("got %s, %v, want %s", other.ipv4, err, want)
		}
	}
	if err := holder.apply(a, fixed("10.0.0.5"), Want{}); err != nil || holder.ipv4.String() != "10.0.0.5" {
		t.Fatal(err)
	}
	if err := holder.apply(a, Want{Needed: true}, Want{}); err != nil || holder.ipv4.String() != "10.0.0.5" {
		t.Fatalf("the address was not kept: %s, %v", holder.ipv4, err)
	}
	if err := other.apply(a, fixed("10.0.0.3"), Want{}); err != nil {
		t.Fatalf("the address that was given up is not free: %v", err)
	}
}

func TestAnAddressFreedByAnotherManagerIsFound(t *testing.T) {
	s := open(t)
	first, second := New(s), New(s)
	n := network("n")
	var devices []*device
	for i := range 5 {
		d := &device{net: n, name: fmt.Sprint(i)}
		if err := d.apply(first, Want{Needed: true}, Want{}); err != nil {
			t.Fatal(err)
		}
		devices = append(devices, d)
	}
	late := &device{net: n, name: "late"}
	if err := late.apply(second, Want{Needed: true}, Want{}); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if err := devices[0].apply(first, Want{}, Want{}); err != nil {
		t.Fatal(err)
	}
	if err := late.apply(second, Want{Needed: true}, Want{}); err != nil {
		t.Fatal(err)
	}
}

// broken is a store whose commits fail without saying whether they happened.
type broken struct{ store.Store }

func (b broken) Commit(ctx context.Context, tx store.Transaction) (int64, error) {
	if _, err := b.Store.Commit(ctx, tx); err != nil {
		return 0, err
	}
	return 0, store.ErrUnavailable
}

func TestAnUnknownOutcomeNeverLeadsToADuplicate(t *testing.T) {
	s := open(t)
	a := New(s)
	n := network("n")
	first := &device{net: n, name: "first"}
	if err := first.apply(a, Want{Needed: true}, Want{}); err != nil {
		t.Fatal(err)
	}
	a.store = broken{s} // the pools know the store itself
	lost := &device{net: n, name: "lost"}
	if err := lost.apply(a, Want{Needed: true}, Want{}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	a.store = s
	next := &device{net: n, name: "next"}
	if err := next.apply(a, Want{Needed: true}, Want{}); err != nil || next.ipv4.String() != "10.0.0.4" {
		t.Fatalf("got %s, %v", next.ipv4, err)
	}
}

func TestBuildErrorsGiveTheAddressBack(t *testing.T) {
	a := New(open(t))
	n := network("n")
	no := errors.New("no")
	_, err := a.Commit(context.Background(), Change{Network: n, IPv4: Want{Needed: true}, IPv6: Want{Needed: true}},
		func(netip.Addr, netip.Addr) (store.Transaction, error) { return store.Transaction{}, no })
	if !errors.Is(err, no) {
		t.Fatal(err)
	}
	d := &device{net: n, name: "d"}
	if err := d.apply(a, Want{Needed: true}, Want{Needed: true}); err != nil || d.ipv4.String() != "10.0.0.2" || d.ipv6.String() != "fd00::2" {
		t.Fatalf("got %s and %s, %v", d.ipv4, d.ipv6, err)
	}
}

// TestConcurrentManagersNeverShareAnAddress lets several managers create,
// change and delete devices at once in a prefix that is nearly full, and then
// compares what the devices were told with what the store holds.
func TestConcurrentManagersNeverShareAnAddress(t *testing.T) {
	s := open(t)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		n := network(fmt.Sprintf("round%d", round))
		managers := rapid.IntRange(1, 3).Draw(rt, "managers")
		workers := rapid.IntRange(2, 8).Draw(rt, "workers")
		type step struct{ kind, addr int }
		plans := make([][]step, workers)
		for i := range plans {
			for range rapid.IntRange(1, 5).Draw(rt, "steps") {
				plans[i] = append(plans[i], step{rapid.IntRange(0, 2).Draw(rt, "kind"), rapid.IntRange(2, 6).Draw(rt, "addr")})
			}
		}
		allocators := make([]*Allocator, managers)
		for i := range allocators {
			allocators[i] = New(s)
		}
		devices := make([]*device, workers)
		var wg sync.WaitGroup
		for i := range devices {
			devices[i] = &device{net: n, name: fmt.Sprint(i)}
			wg.Go(func() {
				for j, st := range plans[i] {
					want := Want{Needed: true}
					switch st.kind {
					case 0:
						want = Want{}
					case 1:
						want = fixed(fmt.Sprintf("10.0.0.%d", st.addr))
					}
					err := devices[i].apply(allocators[(i+j)%managers], want, Want{Needed: true})
					if err != nil && !errors.Is(err, ErrFull) && !errors.Is(err, ErrTaken) {
						rt.Errorf("worker %d: %v", i, err)
					}
				}
			})
		}
		wg.Wait()
		compare(rt, s, n, devices)
	})
}

func compare(rt *rapid.T, s store.Store, n Network, devices []*device) {
	held := map[netip.Addr]string{}
	for _, d := range devices {
		for _, addr := range []netip.Addr{d.ipv4, d.ipv6} {
			if !addr.IsValid() {
				continue
			}
			if other, ok := held[addr]; ok {
				rt.Fatalf("%s belongs to %s and %s", addr, other, d.name)
			}
			held[addr] = d.name
		}
	}
	stored := 0
	for _, v6 := range []bool{false, true} {
		l, err := s.List(context.Background(), keyspace.IPAMPrefix(n.Name, v6), store.ListOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		for _, e := range l.Entries {
			_, addr, _ := keyspace.ParseIPAMAddress(e.Key)
			owner, err := keyspace.Decode[keyspace.Owner](e.Value)
			if err != nil || held[addr] != owner.Name {
				rt.Fatalf("the store gives %s to %q, the device is %q", addr, owner.Name, held[addr])
			}
			stored++
		}
	}
	if stored != len(held) {
		rt.Fatalf("the store holds %d addresses, the devices %d", stored, len(held))
	}
}
