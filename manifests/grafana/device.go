package grafana

// device is one general node.
func device() Dashboard {
	const which = `{adapter="$adapter", general_node="$general_node"}`
	b := newDashboard("device", "Device", "One general node: its phase, its traffic, its tunnels.",
		choice("adapter", "Adapter", `cyphonic_adapter_list_followed{adapter!=""}`, "adapter", false),
		choice("general_node", "General node", `cyphonic_adapter_general_node_phase{adapter="$adapter"}`, "general_node", false))
	b.row("Now")
	phase := neutral("Phase", "Up: it can be reached. The status of the resource says why it is not.", "none",
		query{`cyphonic_adapter_general_node_phase` + which, "{{phase}}"})
	phase.Options.(map[string]any)["textMode"] = "name"
	b.add(phase, 6, 4, "CyphonicGeneralNodesFailed", "CyphonicGeneralNodesDown")
	b.add(neutral("Tunnels", "Peers with which it has a tunnel.", "none", query{`cyphonic_adapter_general_node_tunnels` + which, ""}), 6, 4)
	b.add(figure("Relayed", "Tunnels through the TRS.", "none", 1, 1000, query{`cyphonic_adapter_general_node_relayed_tunnels` + which, ""}), 6, 4, "CyphonicTunnelsRelayed")
	b.add(figure("Round-trip time", "The longest of its working tunnels; 0 if none has been measured.", "s", 0.2, 1,
		query{`cyphonic_adapter_general_node_rtt_seconds` + which, ""}), 6, 4)
	b.row("Over time")
	b.add(graph("Traffic", "IP packets; out is from the device.", "Bps",
		query{`sum by (direction) (rate(cyphonic_adapter_general_node_bytes_total` + which + `[$__rate_interval]))`, "{{direction}}"}), 12, 8)
	b.add(graph("Packets", "IP packets; out is from the device.", "pps",
		query{`sum by (direction) (rate(cyphonic_adapter_general_node_packets_total` + which + `[$__rate_interval]))`, "{{direction}}"}), 12, 8)
	b.add(graph("Tunnels", "All, and those of them that are relayed.", "none",
		query{`cyphonic_adapter_general_node_tunnels` + which, "tunnels"},
		query{`cyphonic_adapter_general_node_relayed_tunnels` + which, "relayed"}), 12, 8, "CyphonicTunnelsRelayed")
	b.add(graph("Round-trip time", "The longest of its working tunnels.", "s", query{`cyphonic_adapter_general_node_rtt_seconds` + which, "longest"}), 12, 8)
	b.add(stacked(graph("Phase", "1 for the phase that it is in.", "none", query{`cyphonic_adapter_general_node_phase` + which, "{{phase}}"})), 12, 8, "CyphonicGeneralNodesDown")
	b.add(graph("Drops of the adapter's guard", "Of all devices of the adapter: the guard does not tell them apart.", "pps",
		query{`rate(cyphonic_adapter_guard_drops_total{adapter="$adapter"}[$__rate_interval])`, "{{reason}}"}), 12, 8, "CyphonicGuardDrops")
	return b.d
}
