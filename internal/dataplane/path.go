package dataplane

import (
	"fmt"
	"net/netip"
)

// Path is a way to a peer: its own address, or a relay's address and the channel there.
type Path struct {
	// Addr is where datagrams go: the peer's real address, or the TRS's.
	Addr netip.AddrPort
	// Channel, if not zero, is the relay channel; RelayData framing is put around datagrams.
	Channel uint32
}

// Relayed says whether the path goes through a TRS.
func (p Path) Relayed() bool { return p.Channel != 0 }

// String is meant for logs.
func (p Path) String() string {
	if p.Relayed() {
		return fmt.Sprintf("%s channel %d", p.Addr, p.Channel)
	}
	return p.Addr.String()
}
