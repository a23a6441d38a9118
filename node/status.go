package node

import (
	"net/netip"

	"github.com/cyphonic/cyphonic/internal/endpoint"
)

// Status is what GET /status answers.
type Status struct {
	Name                  string         `json:"name"`
	Version               string         `json:"version"`
	Phase                 string         `json:"phase"`
	Reason                string         `json:"reason,omitempty"`
	NodeID                string         `json:"nodeID"`
	FQDN                  string         `json:"fqdn,omitempty"`
	Domain                string         `json:"domain,omitempty"`
	Interface             string         `json:"interface"`
	VirtualIPv4           netip.Addr     `json:"virtualIPv4,omitzero"`
	VirtualIPv6           netip.Addr     `json:"virtualIPv6,omitzero"`
	AuthenticationService string         `json:"authenticationService"`
	Resolver              netip.AddrPort `json:"resolver"`
	ResolverIntegration   string         `json:"resolverIntegration,omitempty"`
	endpoint.Status                      // locals and their peers
}

// Connected is what POST /connect answers.
type Connected struct {
	FQDN        string     `json:"fqdn"`
	VirtualIPv4 netip.Addr `json:"virtualIPv4,omitzero"`
	VirtualIPv6 netip.Addr `json:"virtualIPv6,omitzero"`
	NodeID      string     `json:"nodeID"`
	Relayed     bool       `json:"relayed"`
}

// Status returns the present state.
func (n *Node) Status() Status {
	n.mu.Lock()
	s := Status{
		Name: n.config.Name, Version: n.version, Phase: n.phase, Reason: n.reason,
		NodeID:    n.device.Key().Public().NodeID().String(),
		Interface: n.config.Interface, AuthenticationService: n.config.AuthenticationService,
		Resolver: n.resolver, ResolverIntegration: n.dns, Status: endpoint.Status{Locals: []endpoint.LocalStatus{}},
	}
	if g := n.grant; g != nil {
		s.FQDN, s.Domain, s.VirtualIPv4, s.VirtualIPv6 = g.FQDN, g.Domain, g.VirtualIPv4, g.VirtualIPv6
	}
	engine := n.engine
	n.mu.Unlock()
	if engine != nil {
		s.Status = engine.Status()
	}
	s.Phase, s.Reason = present(s.Phase, s.Reason, s.Locals)
	return s
}

// present takes a lost registration into account: a node that was Up before is waiting for the NMS again.
func present(phase, reason string, locals []endpoint.LocalStatus) (string, string) {
	if phase != PhaseUp || len(locals) == 0 || locals[0].Registered {
		return phase, reason
	}
	return PhaseRegistering, "no answer from the NMS: open tunnels go on, new ones wait; check the network (UDP) and that this node is not disabled"
}
