package endpoint

import (
	"slices"
	"testing"
	"time"
)

func TestTimersFireInOrderAndOnce(t *testing.T) {
	var ts timers
	var fired []int
	start := time.Unix(0, 0)
	list := make([]*timer, 10)
	for i := range list {
		list[i] = newTimer(func(time.Time) { fired = append(fired, i) })
		ts.set(list[i], start.Add(time.Duration(10-i)*time.Second))
	}
	ts.stop(list[4])
	ts.set(list[9], start.Add(100*time.Second))
	ts.set(list[3], time.Time{}) // stops it
	if next, ok := ts.next(); !ok || !next.Equal(start.Add(2*time.Second)) {
		t.Errorf("next is %v", next)
	}
	ts.run(start.Add(8 * time.Second))
	ts.run(start.Add(8 * time.Second))
	if want := []int{8, 7, 6, 5, 2}; !slices.Equal(fired, want) {
		t.Errorf("fired %v, want %v", fired, want)
	}
}

func TestTimerStoppedByAnEarlierOneDoesNotFire(t *testing.T) {
	var ts timers
	start := time.Unix(0, 0)
	second := newTimer(func(time.Time) { t.Error("fired") })
	first := newTimer(func(time.Time) { ts.stop(second) })
	ts.set(first, start)
	ts.set(second, start.Add(time.Second))
	ts.run(start.Add(time.Minute))
	if _, ok := ts.next(); ok {
		t.Error("something is left")
	}
}

func TestTimerSetForNowWaitsForTheNextRun(t *testing.T) {
	var ts timers
	now := time.Unix(0, 0)
	count := 0
	var again *timer
	again = newTimer(func(now time.Time) { count++; ts.set(again, now) })
	ts.set(again, now)
	ts.run(now)
	if count != 1 {
		t.Errorf("fired %d times in one run", count)
	}
}
