package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// story prints what happens, with the time since it began.
type story struct {
	out     io.Writer
	started time.Time
}

func newStory(out io.Writer) *story { return &story{out: out, started: time.Now()} }

// section begins a part.
func (s *story) section(title string) { fmt.Fprintf(s.out, "\n── %s\n", title) }

// step runs one step and prints ✓ or ✗, when it ended and how long it took. The text may be completed by the step.
func (s *story) step(text string, run func() (detail string, err error)) error {
	begin := time.Now()
	detail, err := run()
	mark := "✓"
	if err != nil {
		mark = "✗"
	}
	if detail != "" {
		text += ": " + detail
	}
	fmt.Fprintf(s.out, "%6.1f s  %s %s", time.Since(s.started).Seconds(), mark, text)
	if took := time.Since(begin); took >= 100*time.Millisecond {
		fmt.Fprintf(s.out, "  (%s)", seconds(took))
	}
	fmt.Fprintln(s.out)
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// milliseconds writes a round-trip time for people.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000)
}

// megabits writes a throughput given in bit/s for people.
func megabits(bitsPerSecond float64) string { return fmt.Sprintf("%.0f Mbit/s", bitsPerSecond/1e6) }

// table prints rows in columns; the first row is the heading.
func (s *story) table(rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for number, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		fmt.Fprintln(s.out, "  "+strings.TrimRight(line.String(), " "))
		if number == 0 {
			total := 0
			for _, width := range widths {
				total += width + 2
			}
			fmt.Fprintln(s.out, "  "+strings.Repeat("─", total-2))
		}
	}
}
