package bfd

import (
	"net/netip"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// dropped is how many packets were dropped for a reason.
func (w *world) dropped(reason string) float64 {
	w.t.Helper()
	var m dto.Metric
	if err := w.manager.metrics.drops.WithLabelValues(reason).Write(&m); err != nil {
		w.t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestWords(t *testing.T) {
	if got := Down.String() + " " + AdminDown.String(); got != "Down AdminDown" {
		t.Error(got)
	}
	if got := NeighborDown.String() + ", " + Diagnostic(31).String(); got != "neighbor signaled session down, diagnostic 31" {
		t.Error(got)
	}
}

func TestPeersThatCannotBe(t *testing.T) {
	good := Peer{Address: netip.MustParseAddr("192.0.2.1")}
	for name, peers := range map[string][]Peer{
		"no address":             {{}},
		"multicast":              {{Address: netip.MustParseAddr("224.0.0.5")}},
		"link-local, no zone":    {{Address: netip.MustParseAddr("fe80::1")}},
		"other family":           {{Address: netip.MustParseAddr("192.0.2.1"), LocalAddress: netip.MustParseAddr("2001:db8::1")}},
		"interval too short":     {{Address: netip.MustParseAddr("192.0.2.1"), RxInterval: time.Millisecond}},
		"interval too long":      {{Address: netip.MustParseAddr("192.0.2.1"), TxInterval: time.Hour}},
		"twice":                  {good, good},
		"more than there may be": make([]Peer, maxPeers+1),
	} {
		m := New(Options{})
		if err := m.Set([]Peer{good}); err != nil {
			t.Fatal(err)
		}
		if err := m.Set(peers); err == nil {
			t.Errorf("%s: taken", name)
		}
		if state, ok := m.State(good.Address); !ok || state != Down {
			t.Errorf("%s: the peer of before is %v %v", name, state, ok)
		}
	}
}
