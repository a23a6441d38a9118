package catalogue

import (
	"fmt"
	"strings"
)

const introduction = `# Metrics

<!-- Written by go generate in internal/catalogue from the source and its tables; change those. -->

All metrics of all programs. Names are ` + "`cyphonic_<component>_<what>_<unit>[_total]`" + ` in base units; counters, and nothing else, end in ` + "`_total`" + `. No label takes its values from
the network or from users without a bound: the bound of each is the number of values that one process shows at most.

| program | where | who may |
|---|---|---|
| ` + "`cyphonicd`" + ` | ` + "`http://127.0.0.1:7490/metrics`" + ` (` + "`metrics.listen`" + `): all services of the process | who is on the host |
| ` + "`cyphonicd manager`" + ` | ` + "`https://<manager>:7440/metrics`" + `: the same of its process | a role with the verb get on Metrics |
| ` + "`cyphonic-adapter`" + ` | pushed to the manager every 15 s, which shows them at ` + "`/api/v1/telemetry/metrics`" + ` with the label ` + "`adapter`" + `; targets for Prometheus at ` + "`/api/v1/telemetry/targets`" + ` | a role with the verb get on Metrics |
| ` + "`cyphonic-adapter`, `cyphonic-node`" + ` | ` + "`curl --unix-socket /run/cyphonic/adapter.sock http://agent/metrics`" + ` (` + "`node.sock`" + `); over TCP at ` + "`metricsListen`" + ` if that is configured | the group of the socket; over TCP, who reaches it |

A node is somebody's computer: it pushes nothing. To scrape one, set ` + "`metricsListen`" + ` in its configuration to an address that only Prometheus reaches, for instance its own virtual IP, which
an access policy then protects: ` + "`metricsListen: 100.96.0.7:7491`" + `. ` + "`manifests/prometheus/prometheus.yml`" + ` has the job for it.

Every program also has ` + "`go_…` and `process_…`" + `, as the Prometheus client library for Go documents them. Scraping: [prometheus.yml](../manifests/prometheus/prometheus.yml). Dashboards: ` +
	"`manifests/grafana/`" + `. Alerts: [runbooks](runbooks/README.md).
`

// Markdown is docs/metrics.md.
func (c *Catalogue) Markdown() string {
	var b strings.Builder
	b.WriteString(introduction)
	for _, part := range components() {
		var own []Metric
		for _, m := range c.Metrics {
			if m.Component() == part.name {
				own = append(own, m)
			}
		}
		if len(own) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s Of %s.\n\n| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n", part.name, part.what, part.programs)
		for _, m := range own {
			var labels []string
			for _, l := range m.Labels {
				bound, _ := boundOf(m, l)
				labels = append(labels, fmt.Sprintf("`%s` ≤ %d", l, bound.Max))
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Name, m.Type, m.Unit(), strings.Join(labels, ", "), cell(m.Help))
		}
		b.WriteString(labelTable(own))
	}
	return b.String()
}

// labelTable explains the labels of the metrics of one component.
func labelTable(metrics []Metric) string {
	var b strings.Builder
	seen := make(map[string]bool)
	for _, m := range metrics {
		for _, l := range m.Labels {
			bound, _ := boundOf(m, l)
			row := fmt.Sprintf("| `%s` | %s |\n", l, cell(bound.Meaning))
			if _, special := bounds()[m.Name+"/"+l]; special {
				row = fmt.Sprintf("| `%s` of `%s` | %s |\n", l, m.Name, cell(bound.Meaning))
			}
			if !seen[row] {
				seen[row] = true
				b.WriteString(row)
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n| label | values |\n|---|---|\n" + b.String()
}

func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}
