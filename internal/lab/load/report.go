package load

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind of a request.
type Kind string

// The kinds of requests.
const (
	Login        Kind = "login"
	Registration Kind = "registration"
	Direction    Kind = "direction"
)

// Kinds lists all kinds in the order in which a device uses them.
func Kinds() []Kind { return []Kind{Login, Registration, Direction} }

// Count is what became of the requests of one kind.
type Count struct {
	Sent     int `json:"sent"`
	FirstTry int `json:"firstTry"` // answered at the first try
	Retried  int `json:"retried"`  // answered after repetitions by the client
	Failed   int `json:"failed"`   // not answered, or refused, after all repetitions

	P50 time.Duration `json:"p50"` // of those answered, from when it was due
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`
	// MostTries that an answered request took.
	MostTries int `json:"mostTries"`
}

// Fault is a request whose first try was not answered.
type Fault struct {
	At     time.Time      `json:"at"` // when it was due
	Kind   Kind           `json:"kind"`
	Device string         `json:"device"`
	Peer   string         `json:"peer,omitempty"` // of a direction
	Local  netip.AddrPort `json:"local"`          // of the first try
	Remote netip.AddrPort `json:"remote"`
	Tries  int            `json:"tries"`
	Failed bool           `json:"failed"` // also after all repetitions
	Took   time.Duration  `json:"took"`
	Error  string         `json:"error"` // of the first try
	// Stalled: the generator started the request late, or stood still while the first try was under way. Then it says
	// nothing about the cloud that the first try was not answered in time.
	Stalled bool `json:"stalled"`
}

// Report is the result of a load.
type Report struct {
	Begin   time.Time      `json:"begin"`
	Took    time.Duration  `json:"took"`
	Counts  map[Kind]Count `json:"counts"`
	Late    int            `json:"late"`    // started later than they were due
	Stalls  Stalls         `json:"stalls"`  // of the generator meanwhile
	Stalled int            `json:"stalled"` // faults that are due to those or to a late start; none of them failed
	Unsent  int            `json:"unsent"`  // too many were under way
	Faults  []Fault        `json:"faults"`  // in the order of their end, at most maxFaults
	Unnamed int            `json:"unnamed"` // further ones
}

// Total adds the kinds up; latencies are the worst of them.
func (r *Report) Total() Count {
	var t Count
	for _, c := range r.Counts {
		t.Sent, t.FirstTry, t.Retried, t.Failed = t.Sent+c.Sent, t.FirstTry+c.FirstTry, t.Retried+c.Retried, t.Failed+c.Failed
		t.P50, t.P99, t.Max = max(t.P50, c.P50), max(t.P99, c.P99), max(t.Max, c.Max)
		t.MostTries = max(t.MostTries, c.MostTries)
	}
	return t
}

// CloudErrors are the requests whose first try was not answered though the generator did its part in time.
func (r *Report) CloudErrors() int { return r.Total().FirstTryErrors() - r.Stalled }

// FirstTryErrors are the requests whose first try was not answered.
func (c Count) FirstTryErrors() int { return c.Retried + c.Failed }

// String is a table for people.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-13s %8s %9s %8s %7s %9s %9s %9s %6s\n", "request", "sent", "first try", "retried", "failed", "p50", "p99", "max", "tries")
	row := func(name string, c Count) {
		fmt.Fprintf(&b, "%-13s %8d %9d %8d %7d %9s %9s %9s %6d\n", name, c.Sent, c.FirstTry, c.Retried, c.Failed, short(c.P50), short(c.P99), short(c.Max), c.MostTries)
	}
	for _, kind := range Kinds() {
		row(string(kind), r.Counts[kind])
	}
	row("all", r.Total())
	fmt.Fprintf(&b, "in %s; started late: %d, not sent: %d; the generator stood still %d times, %s in all, %s at most: %d faults\n",
		r.Took.Round(time.Millisecond), r.Late, r.Unsent, r.Stalls.Times, short(r.Stalls.Total), short(r.Stalls.Longest), r.Stalled)
	return b.String()
}

func short(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }

// outcome of one request.
type outcome struct {
	tries  int
	failed bool
	err    error // of the first try, nil if it was answered
	local  netip.AddrPort
	remote netip.AddrPort
	peer   string
}

// recorder collects outcomes.
type recorder struct {
	mu      sync.Mutex
	report  Report
	samples map[Kind][]time.Duration
}

func newRecorder(begin time.Time) *recorder {
	return &recorder{report: Report{Begin: begin, Counts: make(map[Kind]Count)}, samples: make(map[Kind][]time.Duration)}
}

func (r *recorder) sent(kind Kind, late bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.report.Counts[kind]
	c.Sent++
	r.report.Counts[kind] = c
	if late {
		r.report.Late++
	}
}

func (r *recorder) unsent() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Unsent++
}

// ended notes an outcome. late says that the request was started late, or that the generator stood still during its first try.
func (r *recorder) ended(kind Kind, device string, due time.Time, late bool, o outcome) {
	took := time.Since(due)
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.report.Counts[kind]
	switch {
	case o.failed:
		c.Failed++
	case o.err != nil:
		c.Retried++
	default:
		c.FirstTry++
	}
	if !o.failed {
		c.MostTries, c.Max = max(c.MostTries, o.tries), max(c.Max, took)
		r.sample(kind, c.FirstTry+c.Retried, took)
	}
	r.report.Counts[kind] = c
	if o.err == nil {
		return
	}
	if late = late && !o.failed; late {
		r.report.Stalled++
	}
	if len(r.report.Faults) == maxFaults {
		r.report.Unnamed++
		return
	}
	r.report.Faults = append(r.report.Faults, Fault{
		At: due, Kind: kind, Device: device, Peer: o.peer, Local: o.local, Remote: o.remote, Tries: o.tries, Failed: o.failed, Took: took,
		Error: o.err.Error(), Stalled: late,
	})
}

// sample keeps a uniform choice of the latencies once there are too many.
func (r *recorder) sample(kind Kind, nth int, took time.Duration) {
	if s := r.samples[kind]; len(s) < maxSamples {
		r.samples[kind] = append(s, took)
	} else if i := rand.IntN(nth); i < maxSamples {
		s[i] = took
	}
}

func (r *recorder) finish() *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Took = time.Since(r.report.Begin)
	for kind, samples := range r.samples {
		slices.Sort(samples)
		c := r.report.Counts[kind]
		c.P50, c.P99 = quantile(samples, 0.5), quantile(samples, 0.99)
		r.report.Counts[kind] = c
	}
	report := r.report
	return &report
}

// quantile of sorted values; 0 if there are none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
