package endpoint

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
)

// Status is a snapshot of the endpoint, for people and for tests.
type Status struct {
	Locals []LocalStatus `json:"locals"`
}

// LocalStatus is that of one identity.
type LocalStatus struct {
	NodeID      identity.NodeID `json:"nodeID"`
	FQDN        string          `json:"fqdn"`
	VirtualIPv4 netip.Addr      `json:"virtualIPv4,omitzero"`
	VirtualIPv6 netip.Addr      `json:"virtualIPv6,omitzero"`
	Assurance   string          `json:"assurance"`
	Registered  bool            `json:"registered"`
	Observed    netip.AddrPort  `json:"observed,omitzero"` // the address that the NMS saw
	NATed       bool            `json:"nated"`
	NotAfter    time.Time       `json:"notAfter"` // end of the ticket, by the AS's clock
	Peers       []PeerStatus    `json:"peers"`
}

// PeerStatus is that of one peer with a session.
type PeerStatus struct {
	NodeID       identity.NodeID `json:"nodeID"`
	FQDN         string          `json:"fqdn"`
	VirtualIPv4  netip.Addr      `json:"virtualIPv4,omitzero"`
	VirtualIPv6  netip.Addr      `json:"virtualIPv6,omitzero"`
	Path         string          `json:"path"`    // direct, punched or relayed
	Address      netip.AddrPort  `json:"address"` // of the peer, or of the TRS
	Working      bool            `json:"working"` // false while no path answers
	RTTSeconds   float64         `json:"rttSeconds"`
	TxBytes      uint64          `json:"txBytes"`
	RxBytes      uint64          `json:"rxBytes"`
	TxPackets    uint64          `json:"txPackets"`
	RxPackets    uint64          `json:"rxPackets"`
	EpochSeconds float64         `json:"epochSeconds"` // age of the session's keys
	Cipher       string          `json:"cipher"`
	Initiator    bool            `json:"initiator"`
	SetupSeconds float64         `json:"setupSeconds"` // of the first handshake, 0 if the peer began it
	PathChanges  int             `json:"pathChanges"`
}

// Status takes a snapshot. It is empty before Run and after it.
func (e *Endpoint) Status() Status {
	e.mu.Lock()
	running := e.started && !e.ended
	e.mu.Unlock()
	if !running {
		return Status{Locals: []LocalStatus{}}
	}
	result := make(chan Status, 1)
	if err := e.post(func(now time.Time) { result <- e.status(now) }); err != nil {
		return Status{Locals: []LocalStatus{}}
	}
	select {
	case s := <-result:
		return s
	case <-e.done:
		return Status{Locals: []LocalStatus{}}
	}
}

func (e *Endpoint) status(now time.Time) Status {
	s := Status{Locals: make([]LocalStatus, 0, len(e.byTag))}
	for _, l := range e.byTag {
		s.Locals = append(s.Locals, l.status(now))
	}
	slices.SortFunc(s.Locals, func(a, b LocalStatus) int { return strings.Compare(a.FQDN, b.FQDN) })
	return s
}

func (l *Local) status(now time.Time) LocalStatus {
	observed, nated := l.client.Observed()
	s := LocalStatus{
		NodeID: l.id, FQDN: l.fqdn, VirtualIPv4: l.ipv4, VirtualIPv6: l.ipv6,
		Assurance: l.certificate.Assurance.String(), Registered: l.client.Registered(),
		Observed: observed, NATed: nated, NotAfter: l.grant.NotAfter,
		Peers: []PeerStatus{},
	}
	for _, p := range l.peers {
		if p.session != nil {
			s.Peers = append(s.Peers, p.status(now))
		}
	}
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int { return strings.Compare(a.FQDN, b.FQDN) })
	return s
}

func (p *peer) status(now time.Time) PeerStatus {
	stats := p.association.Stats()
	current := p.selector.Current()
	return PeerStatus{
		NodeID: p.id, FQDN: p.certificate.FQDN,
		VirtualIPv4: p.certificate.VirtualIPv4, VirtualIPv6: p.certificate.VirtualIPv6,
		Path: p.pathName(current), Address: current.Addr, Working: !p.selector.Dead(),
		RTTSeconds: p.selector.RTT().Seconds(),
		TxBytes:    stats.TxBytes, RxBytes: stats.RxBytes, TxPackets: stats.TxPackets, RxPackets: stats.RxPackets,
		EpochSeconds: now.Sub(p.session.since).Seconds(), Cipher: p.session.Cipher().String(),
		Initiator: p.session.Initiator(), SetupSeconds: p.setup.Seconds(), PathChanges: p.changes,
	}
}
