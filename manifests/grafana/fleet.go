package grafana

// Dashboards are all dashboards.
func Dashboards() []Dashboard { return []Dashboard{fleet(), adapter(), device(), cloud()} }

// fleet is everything at a glance.
func fleet() Dashboard {
	b := newDashboard("fleet", "Fleet", "All adapters and general nodes, and whether the cloud is well.",
		choice("adapter", "Adapter", `cyphonic_adapter_list_followed{adapter!=""}`, "adapter", true))
	b.row("Now")
	b.add(figure("Adapters that push", "Adapters whose metrics a manager has. Those that are off or reach no manager are missing.", "none", 1, 0.5,
		query{`count(cyphonic_manager_telemetry_push_age_seconds{adapter=~"$adapter"}) or vector(0)`, ""}), 4, 4, "CyphonicAdapterSilent")
	b.add(neutral("General nodes", "In the lists of these adapters.", "none",
		query{`sum(cyphonic_adapter_general_nodes{adapter=~"$adapter"})`, ""}), 4, 4)
	b.add(neutral("Up", "General nodes that can be reached.", "none",
		query{`sum(cyphonic_adapter_general_nodes{adapter=~"$adapter", phase="Up"})`, ""}), 4, 4)
	b.add(figure("Failed", "General nodes that ask and do not get in.", "none", 1, 10,
		query{`sum(cyphonic_adapter_general_nodes{adapter=~"$adapter", phase="Failed"})`, ""}), 4, 4, "CyphonicGeneralNodesFailed")
	b.add(figure("Oldest list", "Time since a manager last confirmed the list of an adapter, the longest of all.", "s", 900, 43200,
		query{`max(cyphonic_adapter_list_age_seconds{adapter=~"$adapter"})`, ""}), 4, 4, "CyphonicAdapterListOld", "CyphonicAdapterListNotFollowed")
	b.add(figure("Alerts", "Critical alerts and warnings that fire now.", "none", 1, 5,
		query{`count(ALERTS{alertname=~"Cyphonic.*", alertstate="firing", severity=~"critical|warning"}) or vector(0)`, ""}), 4, 4)
	b.row("Over time")
	b.add(stacked(graph("General nodes by phase", "Disabled ones are meant to be; Down ones are switched off or unplugged.", "none",
		query{`sum by (phase) (cyphonic_adapter_general_nodes{adapter=~"$adapter"})`, "{{phase}}"})), 12, 8, "CyphonicGeneralNodesDown", "CyphonicGeneralNodesFailed")
	b.add(graph("Traffic through the tunnels", "IP packets of all general nodes; out is from them.", "Bps",
		query{`sum by (direction) (rate(cyphonic_dataplane_bytes_total{adapter=~"$adapter"}[$__rate_interval]))`, "{{direction}}"}), 12, 8)
	b.add(stacked(graph("Tunnels by path", "Relayed ones go through the TRS.", "none",
		query{`sum by (path) (cyphonic_endpoint_peers{adapter=~"$adapter"})`, "{{path}}"})), 12, 8, "CyphonicTunnelsRelayed")
	b.add(graph("Logins of general nodes", "At the AS, on behalf of the devices.", "ops",
		query{`sum by (result) (rate(cyphonic_adapter_logins_total{adapter=~"$adapter"}[$__rate_interval]))`, "{{result}}"}), 12, 8, "CyphonicAdapterLoginsFail")
	b.row("Adapters")
	b.add(linked(table("General nodes that are not up", "By adapter and phase.", "none", map[string]string{"adapter": "adapter", "phase": "phase", "Value": "general nodes"},
		query{`sort_desc(sum by (adapter, phase) (cyphonic_adapter_general_nodes{adapter=~"$adapter", phase!~"Up|Disabled"}))`, ""}), "Adapter", "adapter", "adapter"), 12, 9)
	b.add(linked(table("Busiest adapters", "Bytes per second in both directions.", "Bps", map[string]string{"adapter": "adapter", "Value": "traffic"},
		query{`topk(20, sum by (adapter) (rate(cyphonic_dataplane_bytes_total{adapter=~"$adapter"}[$__rate_interval])))`, ""}), "Adapter", "adapter", "adapter"), 12, 9)
	return b.d
}

// adapter is one gateway.
func adapter() Dashboard {
	b := newDashboard("adapter", "Adapter", "One adapter: its general nodes, its LAN, its tunnels and the program itself.",
		choice("adapter", "Adapter", `cyphonic_adapter_list_followed{adapter!=""}`, "adapter", false))
	b.row("Now")
	b.add(figure("List followed", "1 while the adapter watches its list at a manager.", "none", 1, 0.5,
		query{`cyphonic_adapter_list_followed{adapter="$adapter"}`, ""}), 4, 4, "CyphonicAdapterListNotFollowed")
	b.add(figure("Age of the list", "Time since a manager last confirmed it.", "s", 900, 43200,
		query{`cyphonic_adapter_list_age_seconds{adapter="$adapter"}`, ""}), 4, 4, "CyphonicAdapterListOld")
	b.add(figure("Age of these metrics", "They are pushed every 15 s and shown for 37.5 s.", "s", 31, 36,
		query{`cyphonic_manager_telemetry_push_age_seconds{adapter="$adapter"}`, ""}), 4, 4, "CyphonicAdapterSilent")
	b.add(neutral("Identities", "General nodes that are logged in.", "none", query{`cyphonic_endpoint_locals{adapter="$adapter"}`, ""}), 4, 4)
	b.add(neutral("Tunnels", "Peers with a session.", "none", query{`sum(cyphonic_endpoint_peers{adapter="$adapter"}) or vector(0)`, ""}), 4, 4)
	b.add(figure("Devices not in the list", "Seen on the LAN within the last minutes.", "none", 1, 10,
		query{`cyphonic_adapter_unlisted_devices{adapter="$adapter"}`, ""}), 4, 4)
	adapterDevices(b)
	adapterTunnels(b)
	b.row("Program")
	b.add(graph("CPU", "Cores in use.", "none", query{`rate(process_cpu_seconds_total{adapter="$adapter"}[$__rate_interval])`, "cores"}), 8, 7)
	b.add(graph("Memory", "Resident, and the heap that is in use.", "bytes", query{`process_resident_memory_bytes{adapter="$adapter"}`, "resident"},
		query{`go_memstats_heap_inuse_bytes{adapter="$adapter"}`, "heap"}), 8, 7)
	b.add(graph("Pushed metrics", "Compressed.", "Bps", query{`rate(cyphonic_adapter_telemetry_pushed_bytes_total{adapter="$adapter"}[$__rate_interval])`, "pushed"}), 8, 7, "CyphonicSeriesLeftOut")
	return b.d
}

func adapterDevices(b *builder) {
	b.row("General nodes")
	b.add(stacked(graph("By phase", "Disabled ones are meant to be; Down ones are switched off or unplugged.", "none", query{`cyphonic_adapter_general_nodes{adapter="$adapter"}`, "{{phase}}"})), 12, 8,
		"CyphonicGeneralNodesFailed", "CyphonicGeneralNodesDown")
	b.add(linked(table("Phase of each", "A click leads to the device.", "none", map[string]string{"general_node": "general_node", "phase": "phase"},
		query{`cyphonic_adapter_general_node_phase{adapter="$adapter"}`, ""}), "Device", "device", "adapter", "general_node"), 12, 8)
	b.add(graph("Traffic of the busiest", "IP packets in both directions.", "Bps",
		query{`topk(10, sum by (general_node) (rate(cyphonic_adapter_general_node_bytes_total{adapter="$adapter"}[$__rate_interval])))`, "{{general_node}}"}), 12, 8)
	b.add(graph("Drops of the guard", "Frames and packets that a device may not send; the first five reasons are those of a device that pretends.", "pps",
		query{`rate(cyphonic_adapter_guard_drops_total{adapter="$adapter"}[$__rate_interval])`, "{{reason}}"}), 12, 8, "CyphonicGuardDrops")
	b.add(graph("Logins", "At the AS, on behalf of the devices.", "ops",
		query{`sum by (result) (rate(cyphonic_adapter_logins_total{adapter="$adapter"}[$__rate_interval]))`, "{{result}}"}), 12, 8, "CyphonicAdapterLoginsFail")
	b.add(graph("Questions to the resolver", "By zone and how they ended.", "ops",
		query{`sum by (zone, result) (rate(cyphonic_resolver_questions_total{adapter="$adapter"}[$__rate_interval]))`, "{{zone}} {{result}}"}), 12, 8)
}

func adapterTunnels(b *builder) {
	b.row("Tunnels")
	b.add(graph("Traffic", "IP packets; out is from the general nodes.", "Bps",
		query{`rate(cyphonic_dataplane_bytes_total{adapter="$adapter"}[$__rate_interval])`, "{{direction}}"}), 12, 8)
	b.add(stacked(graph("By path", "Peers with a session; relayed ones go through the TRS.", "none", query{`cyphonic_endpoint_peers{adapter="$adapter"}`, "{{path}}"})), 12, 8, "CyphonicTunnelsRelayed")
	b.add(graph("Drops of the data plane", "By direction and reason.", "pps",
		query{`sum by (direction, reason) (rate(cyphonic_dataplane_drops_total{adapter="$adapter"}[$__rate_interval])) > 0 or sum(rate(cyphonic_dataplane_drops_total{adapter="$adapter"}[$__rate_interval]))`, "{{direction}} {{reason}}"}), 12, 8)
	b.add(graph("Handshakes", "By role and how they ended.", "ops",
		query{`sum by (role, result) (rate(cyphonic_endpoint_handshakes_total{adapter="$adapter"}[$__rate_interval]))`, "{{role}} {{result}}"}), 12, 8)
	b.add(graph("Time to a tunnel", "Of handshakes that this adapter began.", "s",
		query{quantile("0.5", "cyphonic_endpoint_handshake_seconds", `{adapter="$adapter"}`, ""), "median"},
		query{quantile("0.99", "cyphonic_endpoint_handshake_seconds", `{adapter="$adapter"}`, ""), "99 %"}), 12, 8)
	b.add(graph("Registrations at the NMS", "Changes; lost ones say that the NMS did not answer.", "ops",
		query{`sum by (result) (rate(cyphonic_endpoint_registrations_total{adapter="$adapter"}[$__rate_interval]))`, "{{result}}"}), 12, 8, "CyphonicRegistrationsLost")
}
