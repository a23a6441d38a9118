package load

import (
	"testing"
	"time"
)

func TestStallsAreRememberedAndAdded(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	var s stalls
	s.note(at(0), at(20))      // as it should be
	s.note(at(100), at(300))   // a stall
	s.note(at(1000), at(1150)) // another one
	for _, row := range []struct {
		from, to int
		want     bool
	}{{0, 90, false}, {0, 110, true}, {150, 200, true}, {290, 900, true}, {310, 900, false}, {1100, 2000, true}, {1160, 2000, false}} {
		if got := s.during(at(row.from), at(row.to)); got != row.want {
			t.Errorf("a stall between %d and %d ms: %t", row.from, row.to, got)
		}
	}
	if sum := s.since(at(0)); sum.Times != 2 || sum.Total != 350*time.Millisecond || sum.Longest != 200*time.Millisecond {
		t.Errorf("%+v", sum)
	}
	if sum := s.since(at(500)); sum.Times != 1 || sum.Total != 150*time.Millisecond {
		t.Errorf("since half a second: %+v", sum)
	}
	for range 2 * maxStalls {
		s.note(at(0), at(200))
	}
	if len(s.list) > maxStalls {
		t.Errorf("%d stalls are remembered", len(s.list))
	}
}

// A late answer during a stall is excused, a failure is not.
func TestOnlyLateAnswersAreExcused(t *testing.T) {
	r := newRecorder(time.Now())
	for _, failed := range []bool{false, true} {
		r.sent(Direction, false)
		r.ended(Direction, "d", time.Now(), true, outcome{tries: 2, failed: failed, err: errUnanswered})
	}
	report := r.finish()
	if report.Stalled != 1 || report.CloudErrors() != 1 || !report.Faults[0].Stalled || report.Faults[1].Stalled {
		t.Errorf("%d excused, %d not: %+v", report.Stalled, report.CloudErrors(), report.Faults)
	}
}
