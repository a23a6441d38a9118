package ctl

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cyphonic/cyphonic/api"
)

// column is a heading and what stands under it.
type column struct {
	heading string
	value   func(o api.Object, now time.Time) string
}

// table aligns rows; widths only grow, so that rows that come later stand under the same heading.
type table struct {
	out     io.Writer
	columns []column
	widths  []int
	rows    [][]string
	headed  bool
}

func newTable(out io.Writer, columns []column) *table {
	t := &table{out: out, columns: columns, widths: make([]int, len(columns))}
	for i, c := range columns {
		t.widths[i] = len(c.heading)
	}
	return t
}

func (t *table) add(o api.Object, now time.Time) {
	row := make([]string, len(t.columns))
	for i, c := range t.columns {
		row[i] = orDash(c.value(o, now))
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(row[i]))
	}
	t.rows = append(t.rows, row)
}

// flush prints the rows added since the last time, under the headings if it is the first.
func (t *table) flush() error {
	if !t.headed {
		headings := make([]string, len(t.columns))
		for i, c := range t.columns {
			headings[i] = c.heading
		}
		t.rows = append([][]string{headings}, t.rows...)
		t.headed = true
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell)+3))
		}
		if _, err := fmt.Fprintln(t.out, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	t.rows = nil
	return nil
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// age is the time since then in its largest unit, as in 3d.
func age(then, now time.Time) string {
	if then.IsZero() {
		return ""
	}
	d := max(0, now.Sub(then))
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func labelsText(labels map[string]string) string {
	var parts []string
	for _, key := range sortedKeys(labels) {
		parts = append(parts, key+"="+labels[key])
	}
	return strings.Join(parts, ",")
}
