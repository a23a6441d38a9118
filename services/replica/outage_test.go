package replica

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

func gauge(t *testing.T, g prometheus.Gauge) float64 {
	t.Helper()
	var m dto.Metric
	if err := g.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetGauge().GetValue()
}

// TestAReplicaServesOnThroughOutages takes etcd away twice: once for so long that it does not remember what happened
// meanwhile, once only shortly.
func TestAReplicaServesOnThroughOutages(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	hose, direct := server.hose(), server.client()
	put(t, direct, keyspace.Resource(keyspace.Nodes, "a"), testNode("a", "1", "10.0.0.2"))
	put(t, direct, keyspace.Resource(keyspace.Nodes, "b"), testNode("b", "2", "10.0.0.3"))
	r := startReplica(t, server.client(hose.addr))
	eventually(t, 10*time.Second, "the shared keys", func() bool { return r.Snapshot().TicketKeys().Current.ID != 0 })
	a, b := r.Snapshot().SubjectByUID("1"), r.Snapshot().SubjectByUID("2")
	if a == nil || b == nil {
		t.Fatal("the devices are missing")
	}

	hose.sever()
	eventually(t, 15*time.Second, "the outage is noticed", func() bool { return gauge(t, r.metrics.connected) == 0 })
	if _, err := direct.Delete(t.Context(), keyspace.Resource(keyspace.Nodes, "a")); err != nil {
		t.Fatal(err)
	}
	put(t, direct, keyspace.Resource(keyspace.Nodes, "c"), testNode("c", "3", "10.0.0.4"))
	compact(t, direct)
	if s := r.Snapshot(); s.SubjectByUID("1") != a || s.TicketKeys().Current.ID == 0 {
		t.Error("the replica does not serve on")
	}
	hose.mend()
	eventually(t, 15*time.Second, "what has changed, by a list", func() bool {
		s := r.Snapshot()
		return s.SubjectByUID("1") == nil && s.SubjectByUID("3") != nil
	})
	if r.Snapshot().SubjectByUID("2") != b {
		t.Error("a device that did not change is another one after the list")
	}
	eventually(t, 5*time.Second, "connected", func() bool { return gauge(t, r.metrics.connected) == 1 })

	server.kill()
	if err := r.Sync(t.Context()); err == nil {
		t.Error("Sync succeeds without etcd")
	}
	server.start()
	put(t, direct, keyspace.Resource(keyspace.Nodes, "d"), testNode("d", "4", "10.0.0.5"))
	eventually(t, 15*time.Second, "a change after the outage", func() bool { return r.Snapshot().SubjectByUID("4") != nil })
	eventually(t, 10*time.Second, "Sync works again", func() bool { return r.Sync(t.Context()) == nil })
}

func compact(t *testing.T, client *clientv3.Client) {
	t.Helper()
	now, err := client.Get(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
}
