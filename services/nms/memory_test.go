package nms

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/services/replica"
)

// locationBytes is what a location may cost, with four logins and eight addresses: maxLocations of them must fit into
// the memory of a replica.
const locationBytes = 3 << 10

// A location at its owner, and as the copy of another replica's, with all that there may be in it.
func TestMemoryOfALocation(t *testing.T) {
	const devices = 3000
	w := newWorld(t)
	d := w.node("d", 2, "198.51.100.1:4000")
	for i := range 7 {
		d.candidates = append(d.candidates, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 4000))
	}
	for range maxLogins {
		d.relogin()
		d.register()
		w.now = w.now.Add(time.Second)
	}
	record := w.core.recordOf(d.subject.UID, w.core.locations[d.subject.UID])
	c, err := NewCore(CoreOptions{
		Snapshot: func() *replica.Snapshot { return w.snapshot }, Rand: rand.Reader,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	before := inUse()
	for i := range devices {
		r, err := parseRecord(record, w.now)
		if err != nil || len(r.logins) != maxLogins || len(r.contact.candidates) < 8 {
			t.Fatalf("%d logins, %d candidates: %v", len(r.logins), len(r.contact.candidates), err)
		}
		r.uid = fmt.Sprintf("4f0c2a56-9d4e-4b43-8f0e-%012d", i)
		r.contact.subject = d.subject // that of the desired state, as known does
		c.merge(r, false)
		c.send(&c.locations[r.uid].contact, "confirmation", d.registration(), nil) // makes its keys
	}
	each := (inUse() - before) / devices
	runtime.KeepAlive(c)
	t.Logf("a location takes %d bytes; %d of them %d MiB; the record is %d bytes long", each, maxLocations, each*maxLocations>>20, len(record))
	if each > locationBytes {
		t.Errorf("a location takes %d bytes, want at most %d", each, locationBytes)
	}
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkExpire shows for how long a core with many locations stands still each second.
func BenchmarkExpire(b *testing.B) {
	w := newWorld(b)
	d := w.node("d", 2, "198.51.100.1:4000")
	d.register()
	for i := range 2 * maxLocations / 3 {
		l := *w.core.locations[d.subject.UID]
		w.core.enter(fmt.Sprintf("4f0c2a56-9d4e-4b43-8f0e-%012d", i), &l)
	}
	for b.Loop() {
		w.core.Expire(w.now)
	}
}
