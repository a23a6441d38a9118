package grafana

// cloud is the services: manager, AS, NMS, TRS.
func cloud() Dashboard {
	b := newDashboard("cloud", "Cloud services", "Managers, AS, NMS and TRS, and what they know of etcd.",
		choice("instance", "Instance", `up{job=~"cyphonic-(cloud|manager)"}`, "instance", true))
	b.row("Now")
	b.add(figure("Targets that answer", "Of the processes of the cloud, as Prometheus reaches them.", "percentunit", 1, 0.99,
		query{`avg(up{job=~"cyphonic-(cloud|manager|adapters)"})`, ""}), 4, 4, "CyphonicTargetDown")
	b.add(figure("Replicas that follow etcd", "Replicas of AS, NMS and TRS.", "percentunit", 1, 0.99,
		query{`avg(cyphonic_replica_connected{instance=~"$instance"})`, ""}), 4, 4, "CyphonicStateNotFollowed")
	b.add(figure("Leaders", "Managers that hold the office of the leader; there is one.", "none", 1, 0.5,
		query{`sum(cyphonic_manager_leading)`, ""}), 4, 4, "CyphonicNoLeader")
	b.add(figure("Failed requests", "Share of answers with a status of 500 or more.", "percentunit", 0.001, 0.01,
		query{`cyphonic:manager_request_errors:ratio_rate5m`, ""}), 4, 4, "CyphonicManagerErrors")
	b.add(neutral("Devices registered", "Locations that the NMS knows.", "none", query{`sum(cyphonic_nms_locations{instance=~"$instance"})`, ""}), 4, 4)
	b.add(neutral("Devices in the desired state", "Nodes, adapters and general nodes.", "none", query{`max(cyphonic_replica_subjects{instance=~"$instance"})`, ""}), 4, 4)
	cloudManager(b)
	cloudTelemetry(b)
	cloudServices(b)
	b.row("Programs")
	b.add(graph("CPU", "Cores in use.", "none", query{`rate(process_cpu_seconds_total{job=~"cyphonic-(cloud|manager)", instance=~"$instance"}[$__rate_interval])`, "{{job}} {{instance}}"}), 8, 7)
	b.add(graph("Memory", "Resident.", "bytes", query{`process_resident_memory_bytes{job=~"cyphonic-(cloud|manager)", instance=~"$instance"}`, "{{job}} {{instance}}"}), 8, 7)
	b.add(graph("Goroutines", "A number that only grows is a leak.", "none", query{`go_goroutines{job=~"cyphonic-(cloud|manager)", instance=~"$instance"}`, "{{job}} {{instance}}"}), 8, 7)
	return b.d
}

func cloudManager(b *builder) {
	b.row("Manager")
	b.add(graph("Requests", "By method and status.", "reqps",
		query{`sum by (method, status) (rate(cyphonic_manager_requests_total{instance=~"$instance"}[$__rate_interval]))`, "{{method}} {{status}}"}), 12, 8, "CyphonicManagerErrors")
	b.add(graph("Time of changes", "POST, PUT, PATCH and DELETE.", "s",
		query{quantile("0.5", "cyphonic_manager_request_duration_seconds", `{instance=~"$instance", method=~"POST|PUT|PATCH|DELETE"}`, ""), "median"},
		query{quantile("0.99", "cyphonic_manager_request_duration_seconds", `{instance=~"$instance", method=~"POST|PUT|PATCH|DELETE"}`, ""), "99 %"}), 12, 8, "CyphonicManagerSlow")
	b.add(graph("Watches", "Open ones, of adapters and of clients.", "none", query{`cyphonic_manager_watches{instance=~"$instance"}`, "{{instance}}"}), 8, 8)
	b.add(graph("Resources", "By kind, as the managers have them in memory.", "none", query{`max by (kind) (cyphonic_manager_cache_resources{instance=~"$instance"})`, "{{kind}}"}), 8, 8)
	b.add(graph("Refused requests", "By reason.", "reqps",
		query{`sum by (reason) (rate(cyphonic_manager_denied_total{instance=~"$instance"}[$__rate_interval])) or vector(0)`, "{{reason}}"}), 8, 8)
	b.add(graph("Audit log", "Records that get their place in the chain, and those that wait for it.", "none",
		query{`sum(rate(cyphonic_manager_audit_records_total{instance=~"$instance"}[$__rate_interval])) or vector(0)`, "records per second"},
		query{`max(cyphonic_manager_audit_pending_records{instance=~"$instance"})`, "waiting"}), 8, 8, "CyphonicAuditBehind", "CyphonicAuditTampered")
	b.add(graph("Git sources", "By state.", "none", query{`sum by (state) (cyphonic_manager_git_sources{instance=~"$instance"})`, "{{state}}"}), 8, 8, "CyphonicGitSourceFailing")
	b.add(graph("Reads from the cache without the database", "They carry a warning.", "reqps",
		query{`sum(rate(cyphonic_manager_stale_reads_total{instance=~"$instance"}[$__rate_interval]))`, "stale"}), 8, 8, "CyphonicManagerStale")
}

func cloudTelemetry(b *builder) {
	b.row("Metrics of adapters")
	b.add(graph("Adapters", "Shown, or held back for up to 37.5 s after they came from another manager.", "none",
		query{`sum by (instance, state) (cyphonic_manager_telemetry_adapters{instance=~"$instance"})`, "{{instance}} {{state}}"}), 8, 8)
	b.add(graph("Pushes", "By result; base is an adapter that was asked for everything.", "reqps",
		query{`sum by (result) (rate(cyphonic_manager_telemetry_pushes_total{instance=~"$instance"}[$__rate_interval]))`, "{{result}}"}), 8, 8, "CyphonicTelemetryFull", "CyphonicTelemetryRefused")
	b.add(graph("Memory", "For what adapters have pushed.", "bytes", query{`cyphonic_manager_telemetry_memory_bytes{instance=~"$instance"}`, "{{instance}}"}), 8, 8, "CyphonicTelemetryFull")
}

func cloudServices(b *builder) {
	b.row("AS")
	b.add(graph("Logins", "By kind of device and outcome.", "ops",
		query{`sum by (kind, outcome) (rate(cyphonic_as_logins_total{instance=~"$instance"}[$__rate_interval]))`, "{{kind}} {{outcome}}"}), 12, 8, "CyphonicLoginsRefused")
	b.add(graph("Time of a login", "From the request to its answer; passwords take long by design.", "s",
		query{quantile("0.5", "cyphonic_as_login_seconds", `{instance=~"$instance"}`, ""), "median"},
		query{quantile("0.99", "cyphonic_as_login_seconds", `{instance=~"$instance"}`, ""), "99 %"}), 12, 8, "CyphonicLoginsSlow")
	b.row("NMS")
	b.add(graph("Messages received", "Authenticated ones, by kind.", "pps",
		query{`sum by (message) (rate(cyphonic_nms_received_total{instance=~"$instance"}[$__rate_interval]))`, "{{message}}"}), 8, 8)
	b.add(graph("Directions", "By outcome.", "ops",
		query{`sum by (outcome) (rate(cyphonic_nms_directions_total{instance=~"$instance"}[$__rate_interval]))`, "{{outcome}}"}), 8, 8)
	b.add(graph("Drops", "By reason.", "pps",
		query{`sum by (reason) (rate(cyphonic_nms_drops_total{instance=~"$instance"}[$__rate_interval]))`, "{{reason}}"}), 8, 8, "CyphonicServiceTableFull")
	b.row("TRS")
	b.add(graph("Relayed traffic", "UDP payload.", "Bps",
		query{`sum by (instance) (rate(cyphonic_trs_forwarded_bytes_total{instance=~"$instance"}[$__rate_interval]))`, "{{instance}}"}), 8, 8)
	b.add(graph("Sessions", "With at least one bound side.", "none", query{`cyphonic_trs_sessions{instance=~"$instance"}`, "{{instance}}"}), 8, 8)
	b.add(graph("Drops", "By reason.", "pps",
		query{`sum by (reason) (rate(cyphonic_trs_drops_total{instance=~"$instance"}[$__rate_interval]))`, "{{reason}}"}), 8, 8, "CyphonicRelayQuota")
	b.row("UDP sockets of NMS and TRS")
	b.add(graph("Datagrams", "By service and direction.", "pps",
		query{`sum by (service, direction) (rate(cyphonic_udp_datagrams_total{job="cyphonic-cloud", instance=~"$instance"}[$__rate_interval]))`, "{{service}} {{direction}}"}), 12, 8)
	b.add(graph("Datagrams that the kernel refused to send", "By service and reason; a full queue or no route.", "pps",
		query{`sum by (service, reason) (rate(cyphonic_udp_send_errors_total{job="cyphonic-cloud", instance=~"$instance"}[$__rate_interval])) or vector(0)`, "{{service}} {{reason}}"}), 12, 8)
}
