package replica

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// device is the key and the record of the i-th device as the manager writes them, and those of its enrolled key.
func device(i int) [2]Item {
	name := fmt.Sprintf("device-%07d", i)
	uid := fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i)
	node := api.Node{
		ApiVersion: "cyphonic/v1", Kind: "Node",
		Metadata: api.ObjectMeta{
			Name: name, Uid: uid, Labels: map[string]string{"role": fmt.Sprintf("role-%d", i%10), "site": fmt.Sprintf("site-%d", i%100)},
			Generation: 1, CreationTimestamp: time.Unix(1_700_000_000, 0).UTC(),
		},
		Spec: api.NodeSpec{Network: fmt.Sprintf("network-%d", i%50)},
		Status: api.NodeStatus{
			Fqdn:        name + ".site.example",
			VirtualIPv4: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String(),
			VirtualIPv6: netip.AddrFrom16([16]byte{0: 0xfd, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}).String(),
		},
	}
	record, err := json.Marshal(node)
	if err != nil {
		panic(err)
	}
	static := make([]byte, 32)
	static[0], static[1], static[2], static[3] = byte(i), byte(i>>8), byte(i>>16), 1
	return [2]Item{
		{Key: keyspace.Enrolled(keyspace.Nodes, name), Value: keyspace.Encode(keyspace.EnrolledRecord{
			UID: uid, Static: static, Signing: static, EnrolledAt: time.Unix(1_700_000_000, 0),
		})},
		{Key: keyspace.Resource(keyspace.Nodes, name), Value: record},
	}
}

// filled is the state with n devices, in the order in which etcd lists them.
func filled(tb testing.TB, n int) *state {
	tb.Helper()
	s := newState()
	for kind := range 2 {
		for i := range n {
			item := device(i)[kind]
			if err := s.put(item.Key, item.Value); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return s
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkSnapshotOfAMillion measures what a change of one of a million devices costs until it is published, and how
// much memory a device takes.
func BenchmarkSnapshotOfAMillion(b *testing.B) {
	const n = 1_000_000
	before := heap()
	start := time.Now()
	s := filled(b, n)
	first, _ := s.snapshot(time.Now())
	load := time.Since(start)
	perDevice := float64(heap()-before) / n
	changed := device(n / 2)[1]
	changed.Value = []byte(string(changed.Value[:len(changed.Value)-1]) + `,"x":1}`)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if err := s.put(changed.Key, changed.Value); err != nil {
			b.Fatal(err)
		}
		if next, _ := s.snapshot(time.Now()); next == first {
			b.Fatal("the snapshot is the same")
		}
	}
	b.ReportMetric(perDevice, "bytes/device")
	b.ReportMetric(load.Seconds(), "s/load")
	runtime.KeepAlive(s)
}
