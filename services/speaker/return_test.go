package speaker

import (
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// A host that was cut off from the router and from etcd alike announces nothing until its replicas have had the time to hear of
// the others. One that lost only either of them does not wait.
func TestAHostThatWasCutOffWaitsBeforeItAnnounces(t *testing.T) {
	const second = time.Second
	for _, row := range []struct {
		name         string
		etcd, router bool          // is cut off from
		back         time.Duration // etcd, after the session; the very long never
		want         time.Duration // after the session stands again
	}{
		{"from the router", false, true, 0, 0},
		{"from etcd", true, false, 0, 0},
		{"from both", true, true, 3 * second, 3*second + returnGrace},
		{"from both, etcd is back first", true, true, -second, returnGrace - second},
		{"from both, etcd stays away", true, true, time.Hour, returnLimit},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.in.connected = w.now
			w.replica("nms-1", keyspace.ReplicaReady)
			announced := func() bool {
				p := w.core.plan(w.now, w.in)
				w.in.applied = p.filter
				p = w.core.plan(w.now, w.in)
				return w.in.established["r"] && len(p.routes["r"]) == 2
			}
			if !announced() {
				t.Fatal("not announced before")
			}
			if row.etcd {
				w.in.lost = true
				announced()
			}
			if row.router {
				w.in.established["r"] = false
				announced()
			}
			began := w.now.Add(time.Minute)
			for w.now = began.Add(-2 * second); w.now.Before(began.Add(20 * second)); w.now = w.now.Add(100 * time.Millisecond) {
				if w.in.established["r"] = !row.router || !w.now.Before(began); row.etcd && w.in.lost && !w.now.Before(began.Add(row.back)) {
					w.in.lost, w.in.connected = false, w.now
				}
				if got, want := announced(), w.in.established["r"] && (!row.router || !w.now.Before(began.Add(row.want))); got != want {
					t.Fatalf("announced %t %s after the session stands again, want %t", got, w.now.Sub(began), want)
				}
			}
		})
	}
}
