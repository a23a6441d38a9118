package ctl

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cyphonic/cyphonic/api"
)

// table aligns rows; widths only grow, so that rows that come later stand under the same heading.
type table struct {
	c        *command
	headings []string
	widths   []int
	rows     [][]string
	headed   bool // the headings are printed already, or are not wanted
}

func (c *command) newTable(headings ...string) *table {
	t := &table{c: c, headings: headings, widths: make([]int, len(headings))}
	t.widen(headings)
	return t
}

// add takes a row, one cell for each heading.
func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = orDash(printable(cells[i]))
	}
	t.widen(cells)
	t.rows = append(t.rows, cells)
}

func (t *table) widen(cells []string) {
	for i, cell := range cells {
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
	}
}

// flush prints the rows added since the last time, under the headings if it is the first.
func (t *table) flush() error {
	var lines strings.Builder
	if !t.headed {
		t.headed = true
		t.line(&lines, t.headings, func(int, string) style { return styleHeading })
	}
	for _, row := range t.rows {
		t.line(&lines, row, t.styleOf)
	}
	t.rows = nil
	_, err := fmt.Fprint(t.c.Stdout, lines.String())
	return err
}

func (t *table) line(out *strings.Builder, cells []string, styleOf func(column int, cell string) style) {
	last := len(cells) - 1
	for i, cell := range cells {
		out.WriteString(t.c.paint(t.c.Stdout, styleOf(i, cell), cell))
		if i < last {
			out.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell)+3))
		}
	}
	out.WriteByte('\n')
}

// styleOf colours states.
func (t *table) styleOf(column int, cell string) style {
	if t.headings[column] == "STATE" && cell == "Active" { // of a BGP session that is not there
		return styleMiddling
	}
	if slices.Contains([]string{"PHASE", "TYPE", "STATE", "VERDICT", "OUTCOME", "SYNC"}, t.headings[column]) {
		return styleOfState(cell)
	}
	return stylePlain
}

// column is a heading and what stands under it.
type column struct {
	heading string
	value   func(o api.Object, now time.Time) string
}

// objectTable is a table of resources.
type objectTable struct {
	*table
	columns []column
}

func (c *command) newObjectTable(columns []column) *objectTable {
	headings := make([]string, len(columns))
	for i, column := range columns {
		headings[i] = column.heading
	}
	return &objectTable{c.newTable(headings...), columns}
}

func (t *objectTable) addObject(o api.Object, now time.Time) {
	cells := make([]string, len(t.columns))
	for i, column := range t.columns {
		cells[i] = column.value(o, now)
	}
	t.add(cells...)
}

// printable keeps what others wrote from doing anything to the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
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
