package ctl

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

// columnsOf returns what a table of the kind shows.
func columnsOf(kind string, wide bool) []column {
	columns := []column{{"NAME", func(o api.Object, _ time.Time) string { return o.Meta().Name }}}
	narrow, further := kindColumns(kind)
	if kind == "Event" {
		columns = nil // the names of events are for programs
	}
	columns = append(columns, narrow...)
	columns = append(columns, column{"AGE", func(o api.Object, now time.Time) string { return age(o.Meta().CreationTimestamp, now) }})
	if wide {
		columns = append(columns, further...)
		columns = append(columns, column{"LABELS", func(o api.Object, _ time.Time) string { return labelsText(o.Meta().Labels) }})
	}
	return columns
}

func kindColumns(kind string) (narrow, further []column) {
	switch kind {
	case "Network":
		return networkColumns()
	case "Node":
		return nodeColumns()
	case "Adapter":
		return adapterColumns()
	case "GeneralNode":
		return generalNodeColumns()
	case "AccessPolicy":
		return accessPolicyColumns()
	case "CloudService":
		return cloudServiceColumns()
	case "EnrollmentToken":
		return enrollmentTokenColumns()
	case "Replica":
		return replicaColumns()
	case "BGPPeer":
		return bgpPeerColumns()
	case "BGPAdvertisement":
		return bgpAdvertisementColumns()
	}
	return accessColumns(kind)
}

// of makes a column out of a function of one kind.
func of[T api.Object](heading string, value func(T) string) column {
	return column{heading, func(o api.Object, _ time.Time) string { return value(o.(T)) }}
}

func networkColumns() (narrow, further []column) {
	narrow = []column{
		of("DOMAIN", func(n *api.Network) string { return n.Spec.Domain }),
		of("IPV4", func(n *api.Network) string { return n.Spec.Ipv4Prefix }),
		of("IPV6", func(n *api.Network) string { return n.Spec.Ipv6Prefix }),
	}
	further = []column{
		of("IPV4-GATEWAY", func(n *api.Network) string { return n.Status.Ipv4Gateway }),
		of("IPV6-GATEWAY", func(n *api.Network) string { return n.Status.Ipv6Gateway }),
		of("IPV4-USED", func(n *api.Network) string { return strconv.FormatInt(n.Status.Ipv4Allocated, 10) }),
		of("IPV6-USED", func(n *api.Network) string { return strconv.FormatInt(n.Status.Ipv6Allocated, 10) }),
	}
	return narrow, further
}

func nodeColumns() (narrow, further []column) {
	narrow = []column{
		of("NETWORK", func(n *api.Node) string { return n.Spec.Network }),
		of("FQDN", func(n *api.Node) string { return n.Status.Fqdn }),
		of("IPV4", func(n *api.Node) string { return n.Status.VirtualIPv4 }),
		of("IPV6", func(n *api.Node) string { return n.Status.VirtualIPv6 }),
		of("PHASE", func(n *api.Node) string { return phase(n.Status.Phase, n.Spec.Disabled) }),
	}
	further = []column{
		of("NODE-ID", func(n *api.Node) string { return n.Status.NodeID }),
	}
	return narrow, further
}

func adapterColumns() (narrow, further []column) {
	narrow = []column{
		of("NETWORK", func(a *api.Adapter) string { return a.Spec.Network }),
		of("PHASE", func(a *api.Adapter) string { return phase(a.Status.Phase, a.Spec.Disabled) }),
		of("DRAINED", func(a *api.Adapter) string { return yesNo(a.Spec.Drained) }),
	}
	further = []column{
		of("NODE-ID", func(a *api.Adapter) string { return a.Status.NodeID }),
	}
	return narrow, further
}

func generalNodeColumns() (narrow, further []column) {
	narrow = []column{
		of("ADAPTER", func(g *api.GeneralNode) string { return g.Spec.Adapter }),
		of("MAC", func(g *api.GeneralNode) string { return g.Spec.Mac }),
		of("FQDN", func(g *api.GeneralNode) string { return g.Status.Fqdn }),
		of("IPV4", func(g *api.GeneralNode) string { return g.Status.VirtualIPv4 }),
		of("IPV6", func(g *api.GeneralNode) string { return g.Status.VirtualIPv6 }),
		of("PHASE", func(g *api.GeneralNode) string { return phase(g.Status.Phase, g.Spec.Disabled) }),
	}
	further = []column{
		of("REASON", func(g *api.GeneralNode) string { return g.Status.Reason }),
		of("NETWORK", func(g *api.GeneralNode) string { return g.Spec.Network }),
		of("AUTHENTICATION", func(g *api.GeneralNode) string { return string(g.Spec.Authentication.Method) }),
		of("MODE", func(g *api.GeneralNode) string { return string(g.Spec.AddressMode) }),
		of("NODE-ID", func(g *api.GeneralNode) string { return g.Status.NodeID }),
	}
	return narrow, further
}

func accessPolicyColumns() (narrow, further []column) {
	narrow = []column{
		of("NETWORK", func(p *api.AccessPolicy) string { return p.Spec.Network }),
		of("FROM", func(p *api.AccessPolicy) string { return selectorsText(p.Spec.From) }),
		of("TO", func(p *api.AccessPolicy) string { return selectorsText(p.Spec.To) }),
		of("RULES", func(p *api.AccessPolicy) string { return rulesText(p.Spec.Rules) }),
	}
	further = []column{
		of("MINIMUM-ASSURANCE", func(p *api.AccessPolicy) string { return p.Spec.MinimumAssurance }),
	}
	return narrow, further
}

func cloudServiceColumns() (narrow, further []column) {
	narrow = []column{
		of("SERVICE", func(s *api.CloudService) string { return string(s.Spec.Service) }),
		of("IPV4", func(s *api.CloudService) string { return s.Spec.Ipv4 }),
		of("IPV6", func(s *api.CloudService) string { return s.Spec.Ipv6 }),
		of("PORT", func(s *api.CloudService) string { return strconv.Itoa(int(s.Spec.Port)) }),
		of("READY", func(s *api.CloudService) string { return strconv.FormatInt(s.Status.ReadyReplicas, 10) }),
	}
	further = []column{
		of("ANNOUNCED-BY", func(s *api.CloudService) string { return strings.Join(s.Status.AnnouncedBy, ",") }),
	}
	return narrow, further
}

func enrollmentTokenColumns() (narrow, further []column) {
	narrow = []column{
		of("SUBJECT", func(t *api.EnrollmentToken) string {
			return strings.ToLower(string(t.Spec.SubjectKind)) + "/" + t.Spec.SubjectName
		}),
		of("PHASE", func(t *api.EnrollmentToken) string { return string(t.Status.Phase) }),
		of("EXPIRES", func(t *api.EnrollmentToken) string { return timeText(t.Status.ExpirationTimestamp) }),
	}
	return narrow, nil
}

func phase(phase api.DevicePhase, disabled bool) string {
	if disabled {
		return string(api.DevicePhaseDisabled)
	}
	return string(phase)
}

func selectorsText(selectors []api.Selector) string {
	var parts []string
	for _, s := range selectors {
		part := strings.Join(append(append([]string{}, s.Kinds...), s.Names...), ",")
		if labels := labelsText(s.MatchLabels); labels != "" {
			part += "[" + labels + "]"
		}
		if part == "" {
			part = "*"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "|")
}

func rulesText(rules []api.PolicyRule) string {
	var parts []string
	for _, rule := range rules {
		part := string(rule.Protocol)
		if len(rule.Ports) > 0 {
			part = fmt.Sprintf("%s/%s", part, strings.Join(rule.Ports, ","))
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func sortedKeys(values map[string]string) []string { return slices.Sorted(maps.Keys(values)) }
