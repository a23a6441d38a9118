package lan

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Lease is the address of one general node. There is exactly one per device, so there is no pool and
// nothing to choose.
type Lease struct {
	IPv4     netip.Addr
	Network  Network
	Duration time.Duration
	MTU      int // bytes; of the tunnel, so that nothing has to be fragmented
}

// Event is what a DHCP message tells the life cycle beside its answer.
type Event int

// The events of a DHCP message.
const (
	EventNone     Event = iota
	EventLeased         // the device has the address until the lease ends
	EventReleased       // the device gives it up (RFC 2131 section 4.4.6)
	EventDeclined       // the device found somebody else using it
)

// parseRequest reads a client's message and refuses what no server answers: relayed ones (nobody relays
// behind an adapter), other hardware, and messages whose client address is not the frame's sender.
func parseRequest(b []byte, sender MAC) (*dhcpv4.DHCPv4, error) {
	m, err := dhcpv4.FromBytes(b)
	if err != nil {
		return nil, fmt.Errorf("lan: DHCP message: %w", err)
	}
	switch {
	case m.OpCode != dhcpv4.OpcodeBootRequest:
		return nil, fmt.Errorf("lan: DHCP message is no request")
	case len(m.ClientHWAddr) != len(sender) || MAC(m.ClientHWAddr) != sender:
		return nil, fmt.Errorf("lan: DHCP message for %s came from %s", m.ClientHWAddr, sender)
	case !m.GatewayIPAddr.IsUnspecified():
		return nil, fmt.Errorf("lan: DHCP message was relayed")
	}
	return m, nil
}

// respond answers a message of the device that l belongs to (RFC 2131 section 4.3). A nil reply means silence.
func respond(m *dhcpv4.DHCPv4, l Lease) (*dhcpv4.DHCPv4, Event) {
	gateway := net.IP(l.Network.Gateway.AsSlice())
	if id := m.ServerIdentifier(); id != nil && !id.Equal(gateway) {
		return nil, EventNone // meant for another server
	}
	current := address(m.ClientIPAddr)
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return reply(m, l, dhcpv4.MessageTypeOffer), EventNone
	case dhcpv4.MessageTypeRequest:
		wanted := address(m.RequestedIPAddress()) // selecting and rebooting; renewing and rebinding use ciaddr
		if !wanted.IsValid() {
			wanted = current
		}
		if wanted != l.IPv4 {
			return refusal(m, l), EventNone
		}
		return reply(m, l, dhcpv4.MessageTypeAck), EventLeased
	case dhcpv4.MessageTypeInform:
		if current != l.IPv4 {
			return nil, EventNone
		}
		return reply(m, l, dhcpv4.MessageTypeAck), EventNone
	case dhcpv4.MessageTypeRelease:
		if current == l.IPv4 {
			return nil, EventReleased
		}
	case dhcpv4.MessageTypeDecline:
		if address(m.RequestedIPAddress()) == l.IPv4 {
			return nil, EventDeclined
		}
	}
	return nil, EventNone
}

// reply builds an offer or acknowledgement. An answer to INFORM has neither address nor times (section 4.3.5).
func reply(m *dhcpv4.DHCPv4, l Lease, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	gateway := net.IP(l.Network.Gateway.AsSlice())
	options := []dhcpv4.Modifier{
		dhcpv4.WithReply(m),
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithServerIP(gateway),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gateway)),
		dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(l.Network.Prefix.Bits(), 32))),
		dhcpv4.WithOption(dhcpv4.OptRouter(gateway)),
		dhcpv4.WithOption(dhcpv4.OptDNS(gateway)),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(l.MTU >> 8), byte(l.MTU)})),
	}
	if l.Network.Domain != "" {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptDomainName(l.Network.Domain)))
	}
	if m.MessageType() == dhcpv4.MessageTypeInform {
		options = append(options, dhcpv4.WithClientIP(m.ClientIPAddr))
	} else {
		options = append(options,
			dhcpv4.WithYourIP(net.IP(l.IPv4.AsSlice())),
			dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(l.Duration)),
			dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(l.Duration/2)),
			dhcpv4.WithOption(dhcpv4.OptRebindingTimeValue(l.Duration*7/8)))
	}
	return build(options...)
}

// refusal tells the device to start over: it remembers an address of another network.
func refusal(m *dhcpv4.DHCPv4, l Lease) *dhcpv4.DHCPv4 {
	return build(
		dhcpv4.WithReply(m),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeNak),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP(l.Network.Gateway.AsSlice()))),
	)
}

// build cannot fail: only the random transaction ID could, and WithReply copies the request's.
func build(modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{Options: make(dhcpv4.Options)}
	for _, modify := range modifiers {
		modify(m)
	}
	return m
}

// destination says where an answer goes (RFC 2131 section 4.1): the zero address means broadcast.
func destination(request, reply *dhcpv4.DHCPv4) netip.Addr {
	switch {
	case reply.MessageType() == dhcpv4.MessageTypeNak:
		return netip.Addr{}
	case address(request.ClientIPAddr).IsValid():
		return address(request.ClientIPAddr)
	case request.IsBroadcast():
		return netip.Addr{}
	}
	return address(reply.YourIPAddr)
}

// address turns the codec's address into a comparable one; zero for none or 0.0.0.0.
func address(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}
