package endpoint

import (
	"container/heap"
	"time"
)

// timers is a heap of what is due next. It belongs to the control goroutine.
type timers struct{ heap timerHeap }

// timer calls fire once at its time; fire may set it again.
type timer struct {
	at    time.Time
	index int // in the heap, -1 outside
	fire  func(now time.Time)
}

func newTimer(fire func(now time.Time)) *timer { return &timer{index: -1, fire: fire} }

// set moves t to at; the zero time stops it.
func (ts *timers) set(t *timer, at time.Time) {
	if at.IsZero() {
		ts.stop(t)
		return
	}
	t.at = at
	if t.index < 0 {
		heap.Push(&ts.heap, t)
		return
	}
	heap.Fix(&ts.heap, t.index)
}

func (ts *timers) stop(t *timer) {
	t.at = time.Time{}
	if t.index >= 0 {
		heap.Remove(&ts.heap, t.index)
	}
}

// run fires what is due at now. What is set again for now by a firing timer
// waits for the next call, so that one timer cannot keep the others waiting.
func (ts *timers) run(now time.Time) {
	var due []*timer
	for len(ts.heap) > 0 && !ts.heap[0].at.After(now) {
		due = append(due, heap.Pop(&ts.heap).(*timer))
	}
	for _, t := range due {
		if t.index < 0 && !t.at.IsZero() { // else set again or stopped by an earlier one
			t.fire(now)
		}
	}
}

// next is when run is to be called; false if never.
func (ts *timers) next() (time.Time, bool) {
	if len(ts.heap) == 0 {
		return time.Time{}, false
	}
	return ts.heap[0].at, true
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}

// soonest is the earliest of the times that are not zero.
func soonest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}
