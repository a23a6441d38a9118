package cloud

import (
	"os"
	"testing"
	"time"
)

func TestTheMachineTellsWhatOthersUse(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	var m Machine
	for i, others := range []float64{0, 0.1, 1.5, 0.2} {
		m.note(machineSample{at(200 * i), at(200 * (i + 1)), others})
	}
	for _, row := range []struct {
		from, to int
		want     float64
	}{{0, 150, 0}, {0, 250, 0.1}, {300, 500, 1.5}, {590, 610, 1.5}, {650, 700, 0.2}, {900, 1000, 0}} {
		if got := m.Others(at(row.from), at(row.to)); got != row.want {
			t.Errorf("between %d and %d ms others used %.1f cores, want %.1f", row.from, row.to, got, row.want)
		}
	}
	if mean := m.Mean(at(-1)); mean < 0.44 || mean > 0.46 {
		t.Errorf("mean %.2f", mean)
	}
}

// This process counts as its own, all of it.
func TestOwnTimeIsNotThatOfOthers(t *testing.T) {
	before, allBefore, _, err := busyTimes()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
	}
	after, all, _, err := busyTimes()
	if err != nil {
		t.Fatal(err)
	}
	own := after[os.Getpid()] - before[os.Getpid()]
	if own <= 0 || own > all-allBefore+2*clockTick {
		t.Errorf("this process used %s, all together %s", own, all-allBefore)
	}
}
