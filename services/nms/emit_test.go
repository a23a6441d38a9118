package nms

import (
	"net/netip"
	"testing"
)

// What is for a device leaves from the replica at which the device's datagrams arrive. One that is only starting, or has
// started again under that name, cannot send from the address of the service yet.
func TestWhatIsForADeviceLeavesFromAReplicaThatServes(t *testing.T) {
	w := newWorld(t)
	c := w.named("nms-0")
	for name, row := range map[string]struct {
		gateway Member
		here    int
	}{
		"it is ready":  {Member{Name: "nms-1", Ready: true}, 0},
		"it leaves":    {Member{Name: "nms-1", Leaving: true}, 0},
		"it starts":    {Member{Name: "nms-1"}, 1},
		"it has ended": {Member{Name: "nms-2", Ready: true}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c.SetMembers(w.now, Members{Revision: 1, Replicas: []Member{{Name: "nms-0", Ready: true}, row.gateway}})
			c.LinkUp(w.now, "nms-1")
			out := c.emit("nms-1", Datagram{netip.MustParseAddrPort("198.51.100.5:4000"), []byte{1}}, nil)
			if len(out) != row.here {
				t.Errorf("%d datagrams are sent from here, want %d", len(out), row.here)
			}
		})
	}
}
