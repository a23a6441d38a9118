package netconf

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// settle is how long the monitor lets a burst of kernel messages end before it looks: one change of
	// network sends tens of messages within a few milliseconds.
	settle = 100 * time.Millisecond
	// rescan is the interval of looking without any message, in case one was lost.
	rescan = 15 * time.Second
)

// MonitorOptions say what to watch.
type MonitorOptions struct {
	ExcludeInterfaces []string              // the overlay's own interfaces
	ExcludePrefixes   func() []netip.Prefix // the virtual prefixes, as far as they are known; may be nil
	Changed           func([]netip.Addr)    // called from Run's goroutine after every real change, not for the first scan
	Log               *slog.Logger
}

// Monitor knows the real addresses of the host and says when they change. An address counts as real if a
// peer elsewhere could reach it: global or private unicast, usable, not of an excluded interface or prefix.
type Monitor struct {
	options MonitorOptions

	mu      sync.Mutex
	current state
}

// state is what a change is measured against: the addresses in order of preference, and the default
// routes, because a new router means a new NAT even where the address is the same.
type state struct {
	addresses []netip.Addr
	defaults  []string
}

// NewMonitor scans once and returns a monitor whose Addresses are valid at once.
func NewMonitor(o MonitorOptions) (*Monitor, error) {
	m := &Monitor{options: o}
	s, err := m.scan()
	if err != nil {
		return nil, err
	}
	m.current = s
	return m, nil
}

// Addresses returns the real addresses of the host, those of the default route's interface first.
func (m *Monitor) Addresses() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.current.addresses)
}

// Run watches until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wake := make(chan struct{}, 1)
	wg.Go(func() { m.subscribe(ctx, wake) })
	ticker := time.NewTicker(rescan)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-wake:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(settle):
			}
		}
		m.look()
	}
}

// look scans and reports a change.
func (m *Monitor) look() {
	s, err := m.scan()
	if err != nil {
		m.options.Log.Warn("cannot read the host's addresses", "error", err)
		return
	}
	m.mu.Lock()
	same := slices.Equal(s.addresses, m.current.addresses) && slices.Equal(s.defaults, m.current.defaults)
	m.current = s
	m.mu.Unlock()
	if !same {
		m.options.Log.Info("real addresses changed", "addresses", s.addresses)
		m.options.Changed(s.addresses)
	}
}

// real says whether an address of an interface counts.
func (m *Monitor) real(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	if m.options.ExcludePrefixes == nil {
		return true
	}
	for _, p := range m.options.ExcludePrefixes() {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

func (m *Monitor) excluded(name string) bool {
	return slices.Contains(m.options.ExcludeInterfaces, name)
}
