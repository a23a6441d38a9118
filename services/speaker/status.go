package speaker

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/services/speaker/bfd"
)

// reporter tells others what the speaker does: a record in etcd, and metrics. It belongs to the loop.
type reporter struct {
	*Speaker
	started   time.Time
	last      []byte
	at        time.Time // of the last report
	addresses []netip.Addr
}

func newReporter(s *Speaker, now time.Time) reporter {
	return reporter{Speaker: s, started: now, addresses: s.options.Addresses}
}

// report makes a report if anything has changed, but not too often: it says when the next one may be made.
func (r *reporter) report(now time.Time, l *loop, in input, p plan) (due time.Time) {
	if wait := r.at.Add(reportDelay); now.Before(wait) {
		return wait
	}
	record := keyspace.SpeakerRecord{Host: in.host, Version: r.options.Version, Started: r.started.UTC(), Prefixes: p.status}
	for _, name := range slices.Sorted(maps.Keys(l.resources.neighbours)) {
		n := l.resources.neighbours[name]
		if len(n.hosts) == 0 || slices.Contains(n.hosts, in.host) {
			record.Sessions = append(record.Sessions, l.session(n, p))
		}
	}
	for _, b := range in.backends {
		record.Backends = append(record.Backends, keyspace.SpeakerBackend{Service: b.Service, Name: b.Name, State: b.State})
	}
	if len(r.options.Addresses) == 0 {
		if found := localAddresses(l.sessions); len(found) > 0 {
			r.addresses = found
		}
	}
	record.Addresses = r.addresses
	raw, err := json.Marshal(record)
	if err != nil { // strings, numbers, times and addresses only
		r.options.Log.Error("report not made", "error", err)
		return time.Time{}
	}
	if bytes.Equal(raw, r.last) {
		return time.Time{}
	}
	r.last, r.at = raw, now
	r.measure(record, l)
	r.options.Report(raw)
	return time.Time{}
}

// session says how the session with a neighbour is.
func (l *loop) session(n neighbour, p plan) keyspace.BGPSession {
	s, there := l.sessions[n.Name]
	out := keyspace.BGPSession{
		Peer: n.Name, Address: n.Address, State: string(s.State), Since: s.Since.UTC(), Advertised: s.Advertised, Received: s.Received, Reason: s.Reason,
	}
	if !there {
		out.State, out.Since = string(Idle), time.Time{}
		out.Reason = l.errors[n.Name]
	}
	if s.Full {
		out.Reason = "the router announced more than maxReceivedPrefixes: the session is tried again after a minute"
	}
	if since, down := l.bfdDown[n.Address]; down && n.bfd != nil {
		out.State, out.Since, out.Reason = string(Idle), since.UTC(), "BFD is down: the router or the link to it is gone"
	}
	if fault := p.faults[n.Name]; fault != "" {
		out.State, out.Reason = string(Idle), fault
	}
	if n.bfd != nil {
		out.BFD = "Down"
		if state, ok := l.options.Detector.State(n.Address); ok {
			out.BFD = bfdName(state)
		}
	}
	out.Reason = out.Reason[:min(len(out.Reason), maxReason)]
	return out
}

// bfdName is the name of a state in the API.
func bfdName(s bfd.State) string {
	switch s {
	case bfd.AdminDown:
		return "AdminDown"
	case bfd.Init:
		return "Init"
	case bfd.Up:
		return "Up"
	default:
		return "Down"
	}
}

// localAddresses are the addresses of this end of the sessions: one of each family.
func localAddresses(sessions map[string]Session) []netip.Addr {
	var v4, v6 netip.Addr
	for _, name := range slices.Sorted(maps.Keys(sessions)) {
		a := sessions[name].Local
		switch {
		case !a.IsValid() || a.Zone() != "" || a.IsLinkLocalUnicast() || a.IsLoopback():
		case a.Is4() && !v4.IsValid():
			v4 = a
		case a.Is6() && !v6.IsValid():
			v6 = a
		}
	}
	var out []netip.Addr
	for _, a := range []netip.Addr{v4, v6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

func (r *reporter) measure(record keyspace.SpeakerRecord, l *loop) {
	m := r.metrics
	m.sessions.Reset()
	m.flaps.Reset()
	m.advertised.Reset()
	m.received.Reset()
	m.announced.Reset()
	m.backends.Reset()
	truth := map[bool]float64{true: 1}
	for _, s := range record.Sessions[:min(len(record.Sessions), maxPeers)] {
		m.sessions.WithLabelValues(s.Peer).Set(truth[s.State == string(Established)])
		m.flaps.WithLabelValues(s.Peer).Set(float64(l.sessions[s.Peer].Flaps))
		m.advertised.WithLabelValues(s.Peer).Set(float64(s.Advertised))
		m.received.WithLabelValues(s.Peer).Set(float64(s.Received))
	}
	for _, p := range record.Prefixes[:min(len(record.Prefixes), maxPrefixes)] {
		m.announced.WithLabelValues(p.Prefix.String()).Set(truth[p.Announced])
	}
	for _, b := range record.Backends {
		m.backends.WithLabelValues(b.Service, string(b.State)).Inc()
	}
}
