package cloud

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Machine watches what else the machine does. The lab has one machine for all its hosts and devices: when something else
// takes its cores, requests are answered late and nobody in the lab is to blame.
type Machine struct {
	mu      sync.Mutex
	samples []machineSample
}

// machineSample is how many cores others used in some time: neither this process nor any that it has started.
type machineSample struct {
	from, to time.Time
	others   float64
}

// Run watches until ctx ends.
func (m *Machine) Run(ctx context.Context) error {
	ticker := time.NewTicker(machineInterval)
	defer ticker.Stop()
	own, all, last, err := busyTimes()
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		var nowOwn map[int]time.Duration
		var nowAll, mine time.Duration
		var now time.Time
		nowOwn, nowAll, now, err = busyTimes()
		for pid, used := range nowOwn {
			mine += used - own[pid]
		}
		m.note(machineSample{last, now, min(float64(runtime.NumCPU()), max(0, (nowAll-all-mine).Seconds()/now.Sub(last).Seconds()))})
		last, own, all = now, nowOwn, nowAll
	}
	return err
}

func (m *Machine) note(s machineSample) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples) == maxMachineSamples {
		m.samples = append([]machineSample(nil), m.samples[maxMachineSamples/2:]...)
	}
	m.samples = append(m.samples, s)
}

// Others is the most cores that others used at any time between two times.
func (m *Machine) Others(from, to time.Time) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	most := 0.0
	for i := len(m.samples) - 1; i >= 0 && m.samples[i].to.After(from); i-- {
		if s := m.samples[i]; s.from.Before(to) {
			most = max(most, s.others)
		}
	}
	return most
}

// Mean is the mean number of cores that others used since a time.
func (m *Machine) Mean(since time.Time) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	used, over := 0.0, 0.0
	for _, s := range m.samples {
		if s.from.After(since) {
			used, over = used+s.others*s.to.Sub(s.from).Seconds(), over+s.to.Sub(s.from).Seconds()
		}
	}
	return used / max(over, 1e-9)
}

// busyTimes are the times that this process and each that descends from it have used, that of all processes, and when
// that was. Interrupts count for nobody.
func busyTimes() (own map[int]time.Duration, all time.Duration, at time.Time, err error) {
	own, used, parents := make(map[int]time.Duration), make(map[int]time.Duration), make(map[int]int)
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, 0, at, err
	}
	at = time.Now()
	line, _, _ := strings.Cut(string(content), "\n")
	fields := strings.Fields(line)
	if len(fields) < 4 {
		return nil, 0, at, fmt.Errorf("unexpected /proc/stat: %q", line)
	}
	for _, field := range fields[1:4] { // user, nice, system
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil, 0, at, err
		}
		all += time.Duration(n) * clockTick
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, 0, at, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if fields, err := processFields(pid); err == nil { // else it has just ended
			parents[pid], _ = strconv.Atoi(fields[1])
			used[pid], _ = timeOf(fields)
		}
	}
	for pid := range parents {
		for p, depth := pid, 0; p > 1 && depth < 64; p, depth = parents[p], depth+1 {
			if p == os.Getpid() {
				own[pid] = used[pid]
			}
		}
	}
	return own, all, at, nil
}
