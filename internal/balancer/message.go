// Package balancer is what a replica and the speaker of its host say to each other over a unix socket: the replica
// registers, and while the connection is open and it is ready the speaker sends it its share of the service's
// traffic. Closing the connection, by whatever way the replica ended, takes it out at once.
//
// Messages are JSON objects, one per line. The package must not know BGP, nftables or what a replica serves.
package balancer

import (
	"net/netip"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// Version of the messages.
const Version = 1

// Registration is what a replica says, first and whenever its state changes. Only State may change on a connection.
type Registration struct {
	Version int    `json:"version"`
	Service string `json:"service"` // as, nms, trs, manager
	Name    string `json:"name"`    // of the replica
	// Addresses at which the replica takes the service's traffic: at most one IPv4 and one IPv6, on Port.
	Addresses []netip.Addr `json:"addresses"`
	Port      uint16       `json:"port"`
	// Direct: devices come to Addresses themselves, so the replica gets nothing that comes for an address of the service.
	// It registers so that its packets are kept out of connection tracking; it is never in service.
	Direct bool                  `json:"direct,omitempty"`
	State  keyspace.ReplicaState `json:"state"` // only Ready replicas get new flows
}

// Answer is what the speaker says to each Registration once it has taken effect, and again when what it says changes.
type Answer struct {
	Version int                   `json:"version"`
	State   keyspace.ReplicaState `json:"state"` // of the Registration that it answers
	// InService: new flows are sent to the replica. After Leaving it turns false only when the local spread has been
	// changed and, if the replica was the last one of the host, the routes have been withdrawn.
	InService bool `json:"inService"`
	// Announced prefixes of the service on this host.
	Announced []netip.Prefix `json:"announced,omitempty"`
	Error     string         `json:"error,omitempty"` // why the registration is refused, with what to do; the connection is closed then
}
