package endpoint

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetricsTellWhatHasHappened(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		a.mustConnect(b)
		stop := a.stream(b, 10*time.Millisecond)
		time.Sleep(time.Second)
		w.net.BlockPair(pubA, pubB)
		time.Sleep(5 * time.Second)
		stop()
		want := `
# HELP cyphonic_endpoint_handshakes_total Ended tunnel handshakes, by this end's role and their result.
# TYPE cyphonic_endpoint_handshakes_total counter
cyphonic_endpoint_handshakes_total{result="ok",role="initiator"} 1
# HELP cyphonic_endpoint_locals Identities hosted by the endpoint.
# TYPE cyphonic_endpoint_locals gauge
cyphonic_endpoint_locals 1
# HELP cyphonic_endpoint_path_changes_total Changes of the path of an established session, by the new path.
# TYPE cyphonic_endpoint_path_changes_total counter
cyphonic_endpoint_path_changes_total{path="relayed"} 1
# HELP cyphonic_endpoint_peers Peers with a session, by path.
# TYPE cyphonic_endpoint_peers gauge
cyphonic_endpoint_peers{path="punched"} 0
cyphonic_endpoint_peers{path="relayed"} 1
# HELP cyphonic_endpoint_registrations_total Changes of the registration at the NMS.
# TYPE cyphonic_endpoint_registrations_total counter
cyphonic_endpoint_registrations_total{result="lost"} 0
cyphonic_endpoint_registrations_total{result="ok"} 1
`
		if err := testutil.GatherAndCompare(a.registry, strings.NewReader(want), "cyphonic_endpoint_handshakes_total",
			"cyphonic_endpoint_locals", "cyphonic_endpoint_path_changes_total", "cyphonic_endpoint_peers",
			"cyphonic_endpoint_registrations_total"); err != nil {
			t.Error(err)
		}
		for _, tt := range []struct{ role, result string }{{"initiator", "punched"}, {"initiator", "relayed"}} {
			if n := testutil.ToFloat64(a.endpoint.metrics.directions.WithLabelValues(tt.role, tt.result)); n != 1 {
				t.Errorf("%v directions %s by the %s, want 1", n, tt.result, tt.role)
			}
		}
		if n, err := testutil.GatherAndCount(a.registry, "cyphonic_endpoint_handshake_seconds"); err != nil || n != 1 {
			t.Errorf("%d handshake histograms, %v", n, err)
		}
		a.local.Close()
		if n := testutil.ToFloat64(a.endpoint.metrics.peers.WithLabelValues("relayed")); n != 0 {
			t.Errorf("%v relayed peers after the end", n)
		}
	})
}
