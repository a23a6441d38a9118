package load

import (
	"slices"
	"sync"
	"time"
)

// Stalls are times when the generator itself stood still, because the machine was busy with other things. What is not
// answered in time then is not the cloud's fault.
type Stalls struct {
	Times   int           `json:"times"`
	Total   time.Duration `json:"total"`
	Longest time.Duration `json:"longest"`
}

type stall struct{ from, to time.Time }

// stalls remembers the latest ones.
type stalls struct {
	mu   sync.Mutex
	list []stall
}

// note looks at the time between two rounds of the timers.
func (s *stalls) note(from, to time.Time) {
	if to.Sub(from) < stallLimit {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == maxStalls {
		s.list = slices.Delete(s.list, 0, maxStalls/2)
	}
	s.list = append(s.list, stall{from, to})
}

// during reports whether there was one between two times.
func (s *stalls) during(from, to time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.list, func(x stall) bool { return x.from.Before(to) && x.to.After(from) })
}

// since sums those up that ended after a time.
func (s *stalls) since(begin time.Time) (sum Stalls) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.list {
		if x.to.After(begin) {
			took := x.to.Sub(x.from)
			sum.Times, sum.Total, sum.Longest = sum.Times+1, sum.Total+took, max(sum.Longest, took)
		}
	}
	return sum
}
