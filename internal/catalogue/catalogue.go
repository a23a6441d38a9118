// Package catalogue knows every metric of every program. It reads the metrics out of the source (names, types, labels and meanings are written there as
// literals), adds from a table kept by hand what the source does not say (how many values a label can have, and which), and writes docs/metrics.md. Its tests
// fail on a metric that is not in that file, on a label without a stated bound and on a name that breaks the rule; the tests of the lab hold what they
// scrape against it.
//
// Programs must not import it.
package catalogue

//go:generate go test -count=1 -run ^TestTheFileIsCurrent$ . -update

import (
	"fmt"
	"slices"
	"strings"
)

// Type of a metric, as in the text format of Prometheus.
type Type string

// The types that are in use.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
	Summary   Type = "summary"
)

// Metric is one metric of the source.
type Metric struct {
	Name   string
	Type   Type
	Help   string
	Labels []string // sorted; those that are added when the metric is registered or shown included
	At     string   // file:line of the declaration, relative to the module
}

// Component is the part of a name that says who counts: the word after cyphonic_.
func (m Metric) Component() string {
	rest, ok := strings.CutPrefix(m.Name, "cyphonic_")
	if !ok {
		return ""
	}
	component, _, _ := strings.Cut(rest, "_")
	return component
}

// Unit is the base unit in the name; "1" for a count of things.
func (m Metric) Unit() string {
	name := strings.TrimSuffix(m.Name, "_total")
	for _, unit := range units() {
		if strings.HasSuffix(name, "_"+unit) {
			return unit
		}
	}
	return "1"
}

// units are the base units that names may end in.
func units() []string { return []string{"seconds", "bytes", "ratio"} }

// strangeUnits are endings that say that a value is not in its base unit, or that the type is in the name.
func strangeUnits() []string {
	return []string{
		"milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "days", "ms", "us", "ns", "sec", "secs", "kilobytes", "megabytes", "kb", "mb", "kib", "mib",
		"bits", "percent", "counter", "gauge", "histogram", "count", "sum", "bucket", "duration", "time",
	}
}

// Misnamed says how a name breaks the rule cyphonic_<component>_<what>_<unit>[_total]; empty if it does not.
func Misnamed(m Metric) string {
	word := m.Component()
	switch {
	case word == "":
		return "it does not begin with cyphonic_"
	case !slices.ContainsFunc(components(), func(c component) bool { return c.name == word }):
		return fmt.Sprintf("%q is no component; those are in the table of the catalogue", word)
	case strings.ToLower(m.Name) != m.Name || strings.Contains(m.Name, "__") || strings.HasSuffix(m.Name, "_") || strings.Contains(m.Name, ":"):
		return "it is not made of lower-case words joined by single underscores"
	case m.Name == "cyphonic_"+word:
		return "it does not say what it counts"
	}
	total := strings.HasSuffix(m.Name, "_total")
	if total != (m.Type == Counter) {
		return "counters, and nothing else, end in _total"
	}
	last := m.Name[strings.LastIndex(strings.TrimSuffix(m.Name, "_total"), "_")+1:]
	if last = strings.TrimSuffix(last, "_total"); slices.Contains(strangeUnits(), last) {
		return fmt.Sprintf("it ends in %q: use base units (%s) or the name of the thing that is counted", last, strings.Join(units(), ", "))
	}
	if m.Type == Histogram && m.Unit() == "1" {
		return "a histogram has a unit"
	}
	return ""
}

// Catalogue is all metrics with what is known about their labels.
type Catalogue struct {
	Metrics []Metric // by name
}

// Read makes the catalogue of the module at root.
func Read(root string) (*Catalogue, error) {
	found, err := scanModule(root)
	if err != nil {
		return nil, err
	}
	c := &Catalogue{}
	for _, m := range append(found, rendered()...) {
		m.Labels = append(m.Labels, addedLabels(m)...)
		slices.Sort(m.Labels)
		m.Labels = slices.Compact(m.Labels)
		if i := slices.IndexFunc(c.Metrics, func(o Metric) bool { return o.Name == m.Name }); i >= 0 {
			if other := c.Metrics[i]; other.Type != m.Type || other.Help != m.Help || !slices.Equal(other.Labels, m.Labels) {
				return nil, fmt.Errorf("%s is declared differently at %s and at %s", m.Name, other.At, m.At)
			}
			continue
		}
		c.Metrics = append(c.Metrics, m)
	}
	slices.SortFunc(c.Metrics, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

// Find returns the metric that a series belongs to: its own name, or that of its histogram or summary.
func (c *Catalogue) Find(series string) (Metric, bool) {
	for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
		name, ok := strings.CutSuffix(series, suffix)
		if !ok {
			continue
		}
		i, found := slices.BinarySearchFunc(c.Metrics, name, func(m Metric, n string) int { return strings.Compare(m.Name, n) })
		if found && (suffix == "" || c.Metrics[i].Type == Histogram || c.Metrics[i].Type == Summary) {
			return c.Metrics[i], true
		}
	}
	return Metric{}, false
}

// Foreign says whether a series is one of the Go runtime or of the process, which the libraries document.
func Foreign(series string) bool {
	return strings.HasPrefix(series, "go_") || strings.HasPrefix(series, "process_") || strings.HasPrefix(series, "promhttp_")
}

// Unexpected says what is wrong with a series that was seen at run time; empty if it is as in the catalogue. labels are those of the program: job and
// instance are the scraper's.
func (c *Catalogue) Unexpected(series string, kind Type, labels []string) string {
	if Foreign(series) {
		return ""
	}
	m, ok := c.Find(series)
	if !ok {
		return "it is not in the catalogue"
	}
	if kind != "" && kind != m.Type {
		return fmt.Sprintf("it is a %s, in the catalogue a %s", kind, m.Type)
	}
	for _, l := range labels {
		special := (l == "le" && m.Type == Histogram) || (l == "quantile" && m.Type == Summary) || l == "adapter"
		if !special && !slices.Contains(m.Labels, l) {
			return fmt.Sprintf("the label %q is not in the catalogue", l)
		}
	}
	return ""
}

// Unbounded lists the labels whose bound nobody has stated, as metric{label}.
func (c *Catalogue) Unbounded() []string {
	var out []string
	for _, m := range c.Metrics {
		for _, l := range m.Labels {
			if _, ok := boundOf(m, l); !ok {
				out = append(out, m.Name+"{"+l+"}")
			}
		}
	}
	return out
}

// Bound is how many values a label of a series has at most in one process; false if nothing is said about it.
func (c *Catalogue) Bound(series, label string) (int, bool) {
	m, ok := c.Find(series)
	if !ok || !slices.Contains(m.Labels, label) {
		return 0, false
	}
	b, ok := boundOf(m, label)
	return b.Max, ok
}
