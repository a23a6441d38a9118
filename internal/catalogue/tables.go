package catalogue

// component says who has the metrics with a certain word after cyphonic_.
type component struct {
	name     string
	programs string
	what     string
}

// components are all that there may be; a new one is entered here.
func components() []component {
	const edge = "`cyphonic-node`, `cyphonic-adapter`"
	return []component{
		{"adapter", "`cyphonic-adapter`", "The gateway and its general nodes."},
		{"as", "`cyphonicd` (as)", "The Authentication Service."},
		{"balancer", "`cyphonicd` (speaker)", "What spreads the traffic of a host's VIPs over its replicas, in the kernel."},
		{"bfd", "`cyphonicd` (speaker)", "Detection of neighbours that are gone."},
		{"dataplane", edge, "Packets between the virtual interface and the tunnels."},
		{"endpoint", edge, "Identities, peers and tunnels."},
		{"manager", "`cyphonicd` (manager)", "The REST API, its cache, events, audit log, git sources and the metrics of adapters."},
		{"nms", "`cyphonicd` (nms)", "The Node Management Service."},
		{"replica", "`cyphonicd` (as, nms, trs)", "What a replica of a service knows of the desired state and of other replicas, and where it is in its life."},
		{"resolver", edge, "The resolver of the overlay's names."},
		{"speaker", "`cyphonicd` (speaker)", "What announces the services of a host by BGP."},
		{"trs", "`cyphonicd` (trs)", "The Tunnel Relay Service."},
		{"tun", edge, "The virtual interface."},
		{"udp", edge + ", `cyphonicd` (nms, trs)", "UDP sockets."},
	}
}

// Bound says which values a label has.
type Bound struct {
	// Max is how many values one process shows at most.
	Max     int
	Meaning string
}

// bounds are by component and label, or by metric and label where one differs from the rest of its component.
func bounds() map[string]Bound {
	all := edgeBounds()
	for key, b := range cloudBounds() {
		all[key] = b
	}
	return all
}

func edgeBounds() map[string]Bound {
	direction := Bound{2, "`out` is from the virtual interface or general node, `in` is towards it"}
	path := Bound{3, "`direct`, `punched`, `relayed`"}
	return map[string]Bound{
		"adapter/general_node": {4096, "name of the GeneralNode; an adapter carries at most 4096, a manager is told of those that fit into 2,000 series"},
		"adapter/phase":        {9, "phase of the general node: `Absent`, `Connecting`, `Authenticating`, `LoggingIn`, `Registering`, `Up`, `Down`, `Failed`, `Disabled`"},
		"adapter/direction":    direction,
		"adapter/reason":       {16, "rule of the guard, see [adapter.md](adapter.md#guard)"},
		"adapter/result":       {4, "`ok`, `denied`, `failed`, `unreachable`"},
		"cyphonic_adapter_telemetry_pushes_total/result": {4, "`ok`, `base` (the manager asked for everything), `refused`, `unreachable`"},
		"dataplane/direction":                            {2, "`out` is from the virtual interface into tunnels, `in` is out of tunnels"},
		"dataplane/reason":                               {14, "why the packet was dropped"},
		"endpoint/role":                                  {2, "`initiator`, `responder`: which end this is"},
		"endpoint/result":                                {24, "`ok` or a word for what went wrong"},
		"endpoint/path":                                  path,
		"endpoint/reason":                                {40, "why it was dropped or forgotten"},
		"resolver/zone":                                  {2, "`overlay`, `upstream`"},
		"resolver/result":                                {16, "how the question ended"},
		"tun/direction":                                  {2, "`in` is from the system, `out` is to it"},
		"tun/reason":                                     {3, "`too_big`, `malformed`, `refused`"},
		"udp/direction":                                  {2, "`in`, `out`"},
		"udp/reason":                                     {12, "why; errors of the kernel by kind"},
		"udp/service":                                    {2, "`nms` or `trs`; only in `cyphonicd`"},
	}
}

func cloudBounds() map[string]Bound {
	return map[string]Bound{
		"as/kind":            {4, "`node`, `adapter`, `generalnode`"},
		"as/credential":      {6, "`key`, `token`, `password`, `adapter`"},
		"as/outcome":         {24, "`granted` or the reason of the refusal"},
		"as/reason":          {16, "why the connection was ended"},
		"balancer/service":   {64, "name of the CloudService"},
		"balancer/backend":   {64, "name of the local replica"},
		"balancer/family":    {2, "`ip`, `ip6`"},
		"balancer/reason":    {9, "`no_service` (another port of a VIP), `no_backend`, `unknown_connection` (shown by another host, not known here either), `rescue_limit`, `connection_limit`, `source_limit` (new TCP connections of one source), `bfd_ttl` (BFD that came over a router), `reset_backend_gone`, `reset_unknown_connection`"},
		"balancer/direction": {2, "`sent` to the other hosts, `received` from them"},
		"bfd/reason":         {9, "`ttl`, `version`, `malformed`, `authentication`, `unknown_peer`, `discriminator`, `interface`; `no_socket` and `send` for packets that could not be sent"},
		"bfd/state":          {4, "`Up`, or the state after it: `Down`, `Init`, `AdminDown`"},
		"bfd/peer":           {128, "address of the neighbour"},
		"manager/method":     {6, "method of HTTP, or `other`"},
		"manager/path":       {128, "path pattern of the specification, or `none`"},
		"manager/status":     {32, "status of HTTP"},
		"manager/reason":     {16, "why it was refused, dropped, left out or ended"},
		"manager/kind":       {16, "plural of the kind of resource"},
		"manager/result":     {12, "`ok`, or why the push was refused: `base`, `older`, `malformed`, `too_large`, `too_often`, `full`, `gone`, `cancelled`"},
		"cyphonic_manager_telemetry_adapters/state": {2, "`shown`, or `held` for up to 37.5 s after an adapter came from another manager"},
		"manager/state":   {8, "as the meaning says"},
		"manager/outcome": {8, "as the meaning says"},
		"manager/source":  {2, "`cache`, `store`"},
		"manager/work":    {16, "name of the work of the leader"},
		"nms/message":     {24, "kind of message"},
		"nms/outcome":     {12, "`direct`, `punched`, `relayed`, or why not"},
		"nms/reason":      {32, "why the datagram was dropped, the link refused or ended, see [cloud.md](cloud.md)"},
		"replica/service": {5, "`as`, `manager`, `nms`, `trs`, or `other`"},
		"replica/state":   {4, "`Starting`, `Ready`, `Leaving`, `Finishing`"},
		"replica/step":    {8, "part of leaving"},
		"speaker/peer":    {16, "name of the BGPPeer"},
		"speaker/prefix":  {128, "address of a service, with /32 or /128"},
		"speaker/service": {4, "`as`, `manager`, `nms`, `trs`"},
		"speaker/state":   {4, "`Starting`, `Ready`, `Leaving`, `Finishing`"},
		"speaker/reason":  {3, "`full`, `invalid`, `slow`"},
		"speaker/result":  {2, "`ok`, `failed`"},
		"trs/outcome":     {12, "`challenged`, `bound`, `moved`, `refreshed`, or the refusal"},
		"trs/reason":      {16, "why the datagram was dropped, see [cloud.md](cloud.md)"},
	}
}

// boundOf finds the bound of a label.
func boundOf(m Metric, label string) (Bound, bool) {
	all := bounds()
	if b, ok := all[m.Name+"/"+label]; ok {
		return b, true
	}
	b, ok := all[m.Component()+"/"+label]
	return b, ok && b.Max > 0 && b.Meaning != ""
}

// addedLabels are those that a program adds to all metrics of a component when it registers them.
func addedLabels(m Metric) []string {
	if m.Component() == "udp" {
		return []string{"service"}
	}
	return nil
}

// rendered are the metrics that no registry has.
func rendered() []Metric {
	return []Metric{{
		Name: "cyphonic_manager_telemetry_push_age_seconds", Type: Gauge, At: "manager/telemetry/page.go",
		Help: "Time since the latest push of the adapter. Only on the page of the adapters' metrics.",
	}}
}
