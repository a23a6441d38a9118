package load

import (
	"fmt"
	"net/netip"
	"strings"
)

// Fleet names devices, one for each source address.
func Fleet(sources []netip.Addr) []Device {
	devices := make([]Device, len(sources))
	for i, source := range sources {
		devices[i] = Device{Name: fmt.Sprintf("device-%05d", i), Source: source}
	}
	return devices
}

// Manifests are the resources of the devices in a network: the adapter, its general nodes, and a policy by which each
// of them may speak to each.
func Manifests(network, adapter string, devices []Device) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{apiVersion: cyphonic/v1, kind: Adapter, metadata: {name: %[2]s}, spec: {network: %[1]s}}
---
apiVersion: cyphonic/v1
kind: AccessPolicy
metadata: {name: %[2]s}
spec: {network: %[1]s, from: [{matchLabels: {fleet: %[2]s}}], to: [{matchLabels: {fleet: %[2]s}}], rules: [{protocol: any}], minimumAssurance: mac}
`, network, adapter)
	for i, d := range devices {
		fmt.Fprintf(&b, "---\n{apiVersion: cyphonic/v1, kind: GeneralNode, metadata: {name: %s, labels: {fleet: %s}}, spec: {network: %s, adapter: %s, mac: %q, addressMode: dual, authentication: {method: mac}}}\n",
			d.Name, adapter, network, adapter, fmt.Sprintf("02:00:5e:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255))
	}
	return b.String()
}
