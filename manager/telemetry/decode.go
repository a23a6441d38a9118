package telemetry

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
	"unique"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
)

// Reasons for which a family is left out; the values of the label "reason".
const (
	refusedName      = "name"      // not one that adapters have, or not well formed
	refusedType      = "type"      // unknown, or a native histogram
	refusedHelp      = "help"      // too long or not UTF-8
	refusedLabel     = "label"     // a name or value that is too long or not well formed, or too many of them
	refusedReserved  = "reserved"  // a label that the manager or Prometheus sets
	refusedDuplicate = "duplicate" // a family or series given twice
	refusedValue     = "value"     // a value of another type than the family's, or too many buckets
	refusedSeries    = "series"    // over the bounds of one adapter
	refusedConflict  = "conflict"  // most adapters have the metric as another type; counted when it is left out of a page
)

func refusals() []string {
	return []string{
		refusedName, refusedType, refusedHelp, refusedLabel, refusedReserved, refusedDuplicate, refusedValue, refusedSeries, refusedConflict,
	}
}

// refusal says why a family is left out.
type refusal string

func (r refusal) Error() string { return string(r) }

// allowed says whether a name can be that of a metric of an adapter: those of the cloud's own programs, which rules and dashboards believe, are not.
func allowed(name string) bool {
	begins := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	return begins("cyphonic_", "go_", "process_") &&
		!begins("cyphonic_manager_", "cyphonic_as_", "cyphonic_nms_", "cyphonic_trs_", "cyphonic_replica_")
}

// receive reads a body as it comes.
func receive(body io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, maxCompressed+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	case len(b) > maxCompressed:
		return nil, (&counted{over: true}).explain(nil)
	}
	return b, nil
}

// decode reads the families of a push, in the order of their names. One family at a time is in memory undecoded.
func (t *Telemetry) decode(adapter string, body io.Reader) ([]family, error) {
	compressed := &counted{r: body, left: maxCompressed}
	expanded, err := gzip.NewReader(compressed)
	if err != nil {
		return nil, compressed.explain(err)
	}
	plain := &counted{r: expanded, left: maxExpanded}
	reader := bufio.NewReader(plain)
	options := protodelim.UnmarshalOptions{MaxSize: maxFamily}
	var families []family
	seen := make(map[string]bool)
	r := renderer{adapter: adapter}
	for {
		var m dto.MetricFamily
		err := options.UnmarshalFrom(reader, &m)
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, explain(err, compressed, plain)
		}
		if len(seen) >= 2*maxFamilies {
			return nil, fmt.Errorf("%w: more than %d families", ErrTooLarge, 2*maxFamilies)
		}
		f, err := r.family(&m)
		var reason refusal
		if err == nil && seen[m.GetName()] {
			err = refusal(refusedDuplicate)
		}
		if errors.As(err, &reason) {
			t.metrics.refused.WithLabelValues(string(reason)).Inc()
			continue
		}
		seen[m.GetName()] = true
		families = append(families, f)
	}
	sortFamilies(families)
	return families, nil
}

// explain says which bound a reader has hit, if any.
func explain(err error, readers ...*counted) error {
	var size *protodelim.SizeTooLargeError
	if errors.As(err, &size) {
		return fmt.Errorf("%w: a family of more than %d bytes", ErrTooLarge, maxFamily)
	}
	for _, r := range readers {
		if r.over {
			return r.explain(err)
		}
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// counted reads so many bytes and not one more.
type counted struct {
	r    io.Reader
	left int64
	over bool
}

func (c *counted) Read(b []byte) (int, error) {
	if c.left <= 0 {
		var one [1]byte
		if n, err := c.r.Read(one[:]); n == 0 {
			return 0, err
		}
		c.over = true
		return 0, ErrTooLarge
	}
	n, err := c.r.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}

func (c *counted) explain(err error) error {
	if c.over {
		return fmt.Errorf("%w: at most %d bytes, %d after decompression", ErrTooLarge, maxCompressed, maxExpanded)
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// describe checks what a family says about itself.
func describe(m *dto.MetricFamily) (unique.Handle[description], error) {
	var none unique.Handle[description]
	name, help := m.GetName(), m.GetHelp()
	if !allowed(name) || len(name) > maxName || !wellFormed(name) {
		return none, refusal(refusedName)
	}
	if len(help) > maxHelp || !utf8.ValidString(help) {
		return none, refusal(refusedHelp)
	}
	kind := ""
	switch m.GetType() {
	case dto.MetricType_COUNTER:
		kind = "counter"
	case dto.MetricType_GAUGE:
		kind = "gauge"
	case dto.MetricType_HISTOGRAM:
		kind = "histogram"
	case dto.MetricType_SUMMARY:
		kind = "summary"
	case dto.MetricType_UNTYPED:
		kind = "untyped"
	default:
		return none, refusal(refusedType)
	}
	return unique.Make(description{name: strings.Clone(name), kind: kind, help: strings.Clone(help)}), nil
}

// wellFormed says whether a text is a name of a metric without colons, or of a label.
func wellFormed(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// reserved says whether a label is one that the manager or Prometheus sets.
func reserved(name string) bool {
	switch name {
	case "adapter", "job", "instance", "le", "quantile":
		return true
	}
	return strings.HasPrefix(name, "__")
}
