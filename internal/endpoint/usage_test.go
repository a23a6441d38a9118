package endpoint

import (
	"fmt"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/dataplane"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/path"
)

func TestUsageOutlivesPeersAndKnowsThePath(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := natted(w)
		if u := a.endpoint.Usage()[a.local.NodeID()]; u != (Usage{}) {
			t.Errorf("before any tunnel: %+v", u)
		}
		a.mustConnect(b)
		stop := a.stream(b, 10*time.Millisecond)
		time.Sleep(2 * time.Second)
		u := a.endpoint.Usage()[a.local.NodeID()]
		if u.Tunnels != 1 || u.Relayed != 0 || u.RTT <= 0 || u.TxPackets < 100 || u.TxBytes <= u.TxPackets {
			t.Errorf("with a punched tunnel: %+v", u)
		}
		w.net.BlockPair(pubA, pubB)
		time.Sleep(5 * time.Second)
		stop()
		if u := a.endpoint.Usage()[a.local.NodeID()]; u.Relayed != 1 {
			t.Errorf("with a relayed tunnel: %+v", u)
		}
		before := a.endpoint.Usage()[a.local.NodeID()].Traffic
		b.local.Close()
		time.Sleep(time.Second)
		after := a.endpoint.Usage()[a.local.NodeID()]
		if after.Tunnels != 0 || after.TxPackets < before.TxPackets || after.RxPackets < before.RxPackets {
			t.Errorf("%+v after the peer has gone, %+v before", after, before)
		}
		if _, closed := a.local.FinalTraffic(); closed {
			t.Error("a final traffic before the end")
		}
		a.local.Close()
		if final, closed := a.local.FinalTraffic(); !closed || final.TxPackets < after.TxPackets {
			t.Errorf("final traffic %+v, %v", final, closed)
		}
	})
}

func BenchmarkUsageOf500IdentitiesWith2PeersEach(b *testing.B) {
	e := &Endpoint{byTag: make(map[uint32]*Local)}
	for i := range 500 {
		l := &Local{e: e, tag: uint32(i), peers: make(map[identity.NodeID]*peer)}
		copy(l.id[:], fmt.Sprint(i))
		for j := range 2 {
			l.peers[identity.NodeID{byte(j)}] = &peer{
				local: l, association: dataplane.NewAssociation(dataplane.Addresses{}), session: &epoch{},
				selector: path.NewSelector(path.Config{NewID: func() uint64 { return 1 }}),
			}
		}
		e.byTag[l.tag] = l
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(e.usage()) != 500 {
			b.Fatal("identities are missing")
		}
	}
}
