package access

import (
	"net/netip"
	"sync"
	"time"
)

// failures counts failed authentications per source address, so that guessing is slow and costs the manager little. IPv6 sources count
// by /64, which is what one host can have. It holds at most maxSources; when it is full, one that failed long ago is forgotten.
type failures struct {
	mu      sync.Mutex
	sources map[netip.Prefix]failing // under mu
}

// failing is the state of one source: debt grows by one with each failure and shrinks with time.
type failing struct {
	debt float64
	at   time.Time
}

func (f failing) now(now time.Time) failing {
	if elapsed := now.Sub(f.at); elapsed > 0 {
		f.debt = max(0, f.debt-float64(elapsed)/float64(failureInterval))
	}
	f.at = now
	return f
}

// wait returns how long the source has to wait, 0 if it does not.
func (t *failures) wait(source netip.Prefix, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.sources[source]
	if !ok {
		return 0
	}
	return f.now(now).wait()
}

func (f failing) wait() time.Duration {
	if f.debt+1 <= failureBurst {
		return 0
	}
	return time.Duration((f.debt + 1 - failureBurst) * float64(failureInterval))
}

// add notes a failure. It returns how long the source had to wait, 0 if this failure was within its allowance.
func (t *failures) add(source netip.Prefix, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.sources[source]
	if !ok && len(t.sources) >= maxSources {
		t.forget(now)
	}
	f = f.now(now)
	if wait := f.wait(); wait > 0 {
		t.sources[source] = f
		return wait
	}
	f.debt++
	t.sources[source] = f
	return 0
}

// forget removes the quietest of a few sources. The order of a map is random, so nobody can choose which.
func (t *failures) forget(now time.Time) {
	var quietest netip.Prefix
	least, seen := 0.0, 0
	for source, f := range t.sources {
		if debt := f.now(now).debt; seen == 0 || debt < least {
			quietest, least = source, debt
		}
		if seen++; seen == forgetSample {
			break
		}
	}
	delete(t.sources, quietest)
}

// sourceOf returns the address that failures of a request count for. Requests without one (of this process) share the zero Prefix.
func sourceOf(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
