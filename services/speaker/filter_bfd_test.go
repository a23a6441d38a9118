package speaker

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/services/speaker/netfilter"
)

func TestThePacketFilterGuardsBFDWhileThereIsASession(t *testing.T) {
	r := newResources()
	n := neighbour{Peer: Peer{Name: "a", Address: netip.MustParseAddr("192.0.2.9"), PeerASN: 1, LocalASN: 1}}
	for _, on := range []bool{false, true} {
		if on {
			n.bfd = &bfdSettings{receive: time.Second, transmit: time.Second, multiplier: 3}
		}
		r.neighbours["a"] = n
		if p := newCore(0).plan(time.Unix(0, 0), input{host: "h", resources: r}); p.filter.BFD != on || len(p.bfd) > 0 != on {
			t.Errorf("BFD wanted %v: %+v, sessions %v", on, p.filter, p.bfd)
		}
	}
	if equalStates(netfilter.State{BFD: true}, netfilter.State{}) {
		t.Error("states with and without BFD are taken for equal: the rule would never be installed")
	}
}
