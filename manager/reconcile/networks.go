package reconcile

import (
	"fmt"
	"net/netip"

	"github.com/cyphonic/cyphonic/api"
)

// conditionAddresses says whether a network can take more devices.
const conditionAddresses = "AddressesAvailable"

// reservedIPv4 and reservedIPv6 are the addresses of a prefix that are never
// given out: that of the network, the gateway's, and the broadcast address.
const (
	reservedIPv4 = 3
	reservedIPv6 = 2
)

// addressesAvailable is the condition of one network.
func addressesAvailable(n *api.Network, usedIPv4, usedIPv6 int64) api.Condition {
	c := api.Condition{
		Type: conditionAddresses, Status: api.ConditionStatusTrue, Reason: "AddressesAvailable", ObservedGeneration: n.Metadata.Generation,
		Message: "every prefix has free addresses",
	}
	for _, family := range []struct {
		prefix         string
		used, reserved int64
	}{{n.Spec.Ipv4Prefix, usedIPv4, reservedIPv4}, {n.Spec.Ipv6Prefix, usedIPv6, reservedIPv6}} {
		if family.prefix == "" {
			continue
		}
		size, ok := usable(family.prefix, family.reserved)
		switch {
		case !ok:
		case family.used >= size:
			c.Status, c.Reason = api.ConditionStatusFalse, "PrefixFull"
			c.Message = fmt.Sprintf("all %d addresses of %s are in use: no device can be added to it", size, family.prefix)
			return c
		case family.used*100 >= size*nearlyFullPercent:
			c.Reason = "PrefixNearlyFull"
			c.Message = fmt.Sprintf("%d %% of the %d addresses of %s are in use", family.used*100/size, size, family.prefix)
		}
	}
	return c
}

// usable is how many addresses of a prefix can be given out; ok is false if
// there are more than anybody can use.
func usable(prefix string, reserved int64) (size int64, ok bool) {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		return 0, false
	}
	bits := p.Addr().BitLen() - p.Bits()
	if bits > 40 {
		return 0, false
	}
	return max(1<<bits-reserved, 0), true
}
