package catalogue

import (
	"regexp"
	"slices"
	"strings"
)

// Selector is one use of a metric or recorded series in an expression of PromQL.
type Selector struct {
	Metric string
	Text   string   // as in the expression, with its matchers and without a range
	Labels []string // of the matchers
}

var (
	selectorPattern = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^{}]*\})?`)
	matcherPattern  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)\s*"`)
	recordedPattern = regexp.MustCompile(`^[a-z_]+:[a-z0-9_]+:[a-z0-9_]+$`) // level:metric:operation
	quotedPattern   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

// Selectors finds the metrics of an expression: those of our programs, of the Go runtime and process, recorded ones, up and ALERTS.
func Selectors(expression string) []Selector {
	var out []Selector
	for _, found := range selectorPattern.FindAllStringSubmatchIndex(expression, -1) {
		name := expression[found[2]:found[3]]
		ours := strings.HasPrefix(name, "cyphonic_") || Foreign(name) || recordedPattern.MatchString(name) || name == "up" || name == "ALERTS"
		if !ours || insideQuotes(expression, found[2]) {
			continue
		}
		s := Selector{Metric: name, Text: expression[found[0]:found[1]]}
		if found[4] >= 0 {
			for _, m := range matcherPattern.FindAllStringSubmatch(expression[found[4]:found[5]], -1) {
				s.Labels = append(s.Labels, m[1])
			}
		}
		out = append(out, s)
	}
	return out
}

func insideQuotes(expression string, at int) bool {
	return slices.ContainsFunc(quotedPattern.FindAllStringIndex(expression, -1), func(q []int) bool { return q[0] < at && at < q[1] })
}

// Misused says what is wrong with a selector: a metric that no program has, or a label that the metric has not; empty if nothing is. recorded are the names
// of recording rules.
func (c *Catalogue) Misused(s Selector, recorded []string) string {
	if s.Metric == "up" || s.Metric == "ALERTS" || Foreign(s.Metric) {
		return ""
	}
	if strings.Contains(s.Metric, ":") {
		if !slices.Contains(recorded, s.Metric) {
			return "no recording rule makes " + s.Metric
		}
		return ""
	}
	m, ok := c.Find(s.Metric)
	if !ok {
		return "no program has the metric " + s.Metric
	}
	for _, l := range s.Labels {
		if !slices.Contains(m.Labels, l) && !slices.Contains([]string{"job", "instance", "adapter", "le"}, l) {
			return s.Metric + " has no label " + l
		}
	}
	return ""
}
