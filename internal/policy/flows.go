package policy

import (
	"strconv"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// Flow is one rule as people read it.
type Flow struct {
	Policy    string // that allows it; empty in a Difference
	Protocol  string // any, tcp, udp or icmp
	Ports     string // as in 80 or 8000-8100; empty: all
	Direction string // Outbound: the first opens it; Inbound: the second does
}

// Directions of a Flow.
const (
	Outbound = "outbound"
	Inbound  = "inbound"
)

// String is the protocol and the ports, as in tcp/80.
func (f Flow) String() string {
	if f.Ports == "" {
		return f.Protocol
	}
	return f.Protocol + "/" + f.Ports
}

func flowOf(policy string, r wire.Rule) Flow {
	f := Flow{Policy: policy, Protocol: protocolName(r.Protocol), Direction: Outbound}
	if r.Inbound {
		f.Direction = Inbound
	}
	switch {
	case r.PortLow == 0 && r.PortHigh == 65535 || r.Protocol == protocolAny || r.Protocol == protocolICMP:
	case r.PortLow == r.PortHigh:
		f.Ports = strconv.Itoa(int(r.PortLow))
	default:
		f.Ports = strconv.Itoa(int(r.PortLow)) + "-" + strconv.Itoa(int(r.PortHigh))
	}
	return f
}

func protocolName(protocol uint8) string {
	switch protocol {
	case protocolICMP:
		return "icmp"
	case protocolTCP:
		return "tcp"
	case protocolUDP:
		return "udp"
	}
	return "any"
}

// subtract returns what of the rules in x none of y covers; both normalized and of one direction. What is left of any protocol is reported as any.
func subtract(x, y []wire.Rule) []wire.Rule {
	if len(y) > 0 && y[0].Protocol == protocolAny {
		return nil
	}
	var left []wire.Rule
	for _, r := range x {
		if r.Protocol == protocolAny {
			return []wire.Rule{r}
		}
		low, open := int(r.PortLow), true
		for _, taken := range y {
			if taken.Protocol != r.Protocol || int(taken.PortHigh) < low || taken.PortLow > r.PortHigh {
				continue
			}
			if int(taken.PortLow) > low {
				left = append(left, wire.Rule{Inbound: r.Inbound, Protocol: r.Protocol, PortLow: uint16(low), PortHigh: taken.PortLow - 1})
			}
			low = int(taken.PortHigh) + 1
			if low > int(r.PortHigh) {
				open = false
				break
			}
		}
		if open {
			left = append(left, wire.Rule{Inbound: r.Inbound, Protocol: r.Protocol, PortLow: uint16(low), PortHigh: r.PortHigh})
		}
	}
	return left
}

// overlap tells whether some flow is in both.
func overlap(x, y []portRule) bool {
	for _, a := range x {
		for _, b := range y {
			if a.protocol == protocolAny || b.protocol == protocolAny || a.protocol == b.protocol && a.low <= b.high && b.low <= a.high {
				return true
			}
		}
	}
	return false
}
