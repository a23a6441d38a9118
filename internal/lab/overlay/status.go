package overlay

import (
	"fmt"
	"net/netip"
	"time"
)

// Status is what an agent says about itself, as far as the lab needs it.
type Status struct {
	Locals []Local `json:"locals"`
	// GeneralNodes and LAN are of adapters only.
	GeneralNodes []GeneralNodeStatus `json:"generalNodes"`
	LAN          LANStatus           `json:"lan"`
}

// GeneralNodeStatus is a device of an adapter's list.
type GeneralNodeStatus struct {
	Name   string `json:"name"`
	Phase  string `json:"phase"`
	Reason string `json:"reason"`
}

// LANStatus is an adapter's side towards its devices.
type LANStatus struct {
	Drops map[string]uint64 `json:"drops"` // packets that the guard dropped, by reason
}

// Local is an identity that the agent hosts.
type Local struct {
	NodeID      string         `json:"nodeID"`
	FQDN        string         `json:"fqdn"`
	VirtualIPv4 netip.Addr     `json:"virtualIPv4"`
	VirtualIPv6 netip.Addr     `json:"virtualIPv6"`
	Assurance   string         `json:"assurance"`
	Registered  bool           `json:"registered"`
	Observed    netip.AddrPort `json:"observed"` // the real address that the NMS saw
	NATed       bool           `json:"nated"`
	Peers       []Peer         `json:"peers"`
}

// Peer is the other end of a tunnel.
type Peer struct {
	FQDN         string         `json:"fqdn"`
	NodeID       string         `json:"nodeID"`
	Path         string         `json:"path"` // direct, punched or relayed
	Address      netip.AddrPort `json:"address"`
	Working      bool           `json:"working"`
	RTTSeconds   float64        `json:"rttSeconds"`
	Cipher       string         `json:"cipher"`
	EpochSeconds float64        `json:"epochSeconds"`
	SetupSeconds float64        `json:"setupSeconds"`
	PathChanges  int            `json:"pathChanges"`
}

// SetupTime is how long the first handshake took; zero if the peer began it.
func (p Peer) SetupTime() time.Duration { return time.Duration(p.SetupSeconds * float64(time.Second)) }

// registered tells whether at least n identities are registered.
func (s Status) registered(n int) error {
	count := 0
	for _, local := range s.Locals {
		if local.Registered {
			count++
		}
	}
	if count < n {
		return fmt.Errorf("%d of %d identities registered", count, n)
	}
	return nil
}

// Local finds an identity by its FQDN.
func (s Status) Local(fqdn string) (Local, error) {
	for _, local := range s.Locals {
		if local.FQDN == fqdn {
			return local, nil
		}
	}
	return Local{}, fmt.Errorf("no identity %s here", fqdn)
}

// Listed tells whether an adapter has a device in its list.
func (s Status) Listed(name string) error {
	for _, device := range s.GeneralNodes {
		if device.Name == name {
			return nil
		}
	}
	return fmt.Errorf("no device %s in the list", name)
}

// Peer finds the tunnel between an identity and a peer, both by FQDN.
func (s Status) Peer(local, peer string) (Peer, error) {
	identity, err := s.Local(local)
	if err != nil {
		return Peer{}, err
	}
	for _, candidate := range identity.Peers {
		if candidate.FQDN == peer {
			return candidate, nil
		}
	}
	return Peer{}, fmt.Errorf("%s has no tunnel to %s", local, peer)
}
