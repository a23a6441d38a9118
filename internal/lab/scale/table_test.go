package scale

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// table is what was measured.
type table struct {
	rows [][3]string // what, measured, promised
}

func (y *table) add(what, measured string) { y.rows = append(y.rows, [3]string{what, measured, ""}) }

// hold adds a time and complains if it is more than was promised.
func (y *table) hold(t *testing.T, what string, took, bound time.Duration, more string) {
	t.Helper()
	y.rows = append(y.rows, [3]string{what, show(took) + more, "≤ " + show(bound)})
	if took > bound {
		t.Errorf("%s: %s, more than %s", what, show(took), show(bound))
	}
}

// markdown is the table as text.
func (y *table) markdown(title string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| what | measured | promised |\n|---|---|---|\n", title)
	for _, row := range y.rows {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row[0], row[1], row[2])
	}
	return b.String()
}

// publish prints the table and leaves it in build/ at the top of the module.
func (w *world) publish() {
	title := fmt.Sprintf("%d general nodes on %d adapters, %s, %d CPUs", w.fleet.generalNodes, w.fleet.adapters, time.Now().UTC().Format(time.RFC3339), runtime.NumCPU())
	text := w.table.markdown(title)
	fmt.Println(text)
	path := filepath.Join("..", "..", "..", "build", fmt.Sprintf("scale-%d.md", w.fleet.generalNodes))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Error(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Error(err)
	}
}

// quantile of durations, which it sorts; 0 if there are none.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}

// spread describes durations.
func spread(all []time.Duration) string {
	return fmt.Sprintf("p50 %s, p99 %s, worst %s", show(quantile(all, 0.5)), show(quantile(all, 0.99)), show(quantile(all, 1)))
}

// show writes a duration with three digits.
func show(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

func TestQuantilesAreThoseOfTheSortedTimes(t *testing.T) {
	var all []time.Duration
	for i := 100; i > 0; i-- {
		all = append(all, time.Duration(i))
	}
	if a, b, c := quantile(all, 0.5), quantile(all, 0.99), quantile(nil, 0.5); a != 51 || b != 100 || c != 0 {
		t.Errorf("%d %d %d", a, b, c)
	}
}
