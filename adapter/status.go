package adapter

import (
	"context"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/adapter/lan"
	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/endpoint"
)

// Status is what GET /status answers.
type Status struct {
	Name                  string              `json:"name"`
	Version               string              `json:"version"`
	Phase                 string              `json:"phase"`
	Reason                string              `json:"reason,omitempty"`
	NodeID                string              `json:"nodeID"`
	AuthenticationService string              `json:"authenticationService"`
	LAN                   LANStatus           `json:"lan"`
	GeneralNodes          []GeneralNodeStatus `json:"generalNodes"`
	endpoint.Status                           // the identities of the general nodes and their peers
}

// LANStatus is the side of the general nodes.
type LANStatus struct {
	Interface string            `json:"interface"`
	Prefix    netip.Prefix      `json:"prefix,omitzero"`
	Gateway   netip.Addr        `json:"gateway,omitzero"`
	Domain    string            `json:"domain,omitempty"`
	Drops     map[string]uint64 `json:"drops"`    // by reason
	Unlisted  []lan.Sighting    `json:"unlisted"` // devices that are not in the list, seen within the last minutes
	Error     string            `json:"error,omitempty"`
}

// GeneralNodeStatus is one device.
type GeneralNodeStatus struct {
	Name        string          `json:"name"`
	MAC         lan.MAC         `json:"mac"`
	Phase       api.DevicePhase `json:"phase"`
	Reason      string          `json:"reason,omitempty"`
	Since       time.Time       `json:"since"`
	Port        string          `json:"port,omitempty"`
	FQDN        string          `json:"fqdn,omitempty"`
	VirtualIPv4 netip.Addr      `json:"virtualIPv4,omitzero"`
	VirtualIPv6 netip.Addr      `json:"virtualIPv6,omitzero"`
	NodeID      string          `json:"nodeID,omitempty"`
}

// Status returns the present state.
func (a *Adapter) Status() Status {
	a.mu.Lock()
	s := Status{
		Name: a.config.Name, Version: a.version, Phase: a.phase, Reason: a.reason,
		NodeID:                a.device.Key().Public().NodeID().String(),
		AuthenticationService: a.config.AuthenticationService,
		LAN: LANStatus{
			Interface: a.config.LAN.Interface, Prefix: a.network.Prefix, Gateway: a.network.Gateway, Domain: a.network.Domain,
			Drops: map[string]uint64{}, Unlisted: []lan.Sighting{},
		},
		GeneralNodes: []GeneralNodeStatus{}, Status: endpoint.Status{Locals: []endpoint.LocalStatus{}},
	}
	opened := a.opened
	a.mu.Unlock()
	s.Reason = joinReasons(s.Reason, ageWarning(a.listConfirmed.Load(), time.Now()))
	if !opened {
		return s
	}
	s.Status = a.engine.Status()
	for _, r := range a.nodes.all() {
		s.GeneralNodes = append(s.GeneralNodes, r.show())
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	if drops, err := a.segment.Counters(ctx); err == nil {
		s.LAN.Drops = drops
	} else {
		s.LAN.Error = err.Error()
	}
	if seen, err := a.segment.Unlisted(ctx); err == nil {
		s.LAN.Unlisted = a.nodes.strangers(seen)
	}
	return s
}

func (g *generalNode) show() GeneralNodeStatus {
	now := g.state.Load()
	s := GeneralNodeStatus{Name: g.name, MAC: g.mac, Phase: now.phase, Reason: now.reason, Since: now.since, Port: now.port, NodeID: now.nodeID}
	if now.grant != nil {
		s.FQDN, s.VirtualIPv4, s.VirtualIPv6 = now.grant.FQDN, now.grant.VirtualIPv4, now.grant.VirtualIPv6
	}
	return s
}
