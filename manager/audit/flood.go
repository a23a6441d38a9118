package audit

import (
	"sync"
	"time"
)

// flood decides whether one more refused request is worth a record, so that nobody can fill the log, or hide in it, by being refused.
type flood struct {
	mu      sync.Mutex
	all     level            // under mu
	sources map[string]level // under mu
}

// level is a bucket that fills with records and empties with time.
type level struct {
	filled float64
	at     time.Time
}

func newFlood() *flood { return &flood{sources: map[string]level{}} }

func (l level) now(now time.Time, interval time.Duration) level {
	if elapsed := now.Sub(l.at); elapsed > 0 {
		l.filled = max(0, l.filled-float64(elapsed)/float64(interval))
	}
	l.at = now
	return l
}

func (f *flood) allow(from string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	own, known := f.sources[from]
	own, all := own.now(now, noteInterval), f.all.now(now, allInterval)
	if own.filled+1 > noteBurst || all.filled+1 > allBurst {
		return false
	}
	if !known && len(f.sources) >= maxSources {
		f.forget(now)
	}
	own.filled++
	all.filled++
	f.sources[from], f.all = own, all
	return true
}

// forget removes the quietest of a few. The order of a map is random, so nobody can choose which.
func (f *flood) forget(now time.Time) {
	quietest, least, seen := "", 0.0, 0
	for from, l := range f.sources {
		if filled := l.now(now, noteInterval).filled; seen == 0 || filled < least {
			quietest, least = from, filled
		}
		if seen++; seen == forgetSample {
			break
		}
	}
	delete(f.sources, quietest)
}
