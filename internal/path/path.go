// Package path decides which way datagrams take between two peers: it orders
// the candidates of a location, notices that the way in use is dead, looks for
// a better one and says when to change.
//
// It is pure: no socket, no clock, no goroutine. The caller passes the time in
// and carries out the actions it takes out. It must not know how a probe is
// protected; it is told only about what has been authenticated.
package path

import (
	"net/netip"
	"slices"
	"time"
)

// Path is one way to a peer. Its fields are those of the data plane's path, so
// that one converts to the other.
type Path struct {
	// Addr is where datagrams are sent: the peer, or the TRS of a relayed path.
	Addr netip.AddrPort
	// Channel is the relay channel at the TRS; 0 is a direct path.
	Channel uint32
}

// Relayed says whether the path leads through a TRS.
func (p Path) Relayed() bool { return p.Channel != 0 }

// IsZero says whether p is no path.
func (p Path) IsZero() bool { return p == Path{} }

// Op is what the caller is to do.
type Op uint8

const (
	// OpProbe asks to send a probe with Action.ID on exactly Action.Path.
	OpProbe Op = iota + 1
	// OpUse asks to send all traffic on Action.Path from now on.
	OpUse
	// OpAnnounce asks to send this end's candidates to the peer inside the
	// session, on Action.Path, so that both ends probe at the same time.
	OpAnnounce
	// OpRelay asks for a relayed path: bind the relay at hand, and tell the
	// NMS that the direct path does not work so that the peer binds as well.
	OpRelay
	// OpRelayCheck asks whether the TRS of the path in use still answers.
	OpRelayCheck
	// OpRestart says that nothing authenticated has come on any path for
	// RestartAfter: the peer has most likely lost the session.
	OpRestart
)

// Action is one thing to do; ID is set for OpProbe only.
type Action struct {
	Op   Op
	Path Path
	ID   uint64
}

// Traffic is what the data plane knows about the session on every path
// together: when the last packet of a user was sent, and when anything
// authenticated was last received. A zero time is "never".
type Traffic struct {
	LastTx, LastRx time.Time
	// RxPackets is the number of the peer's users' packets.
	RxPackets uint64
}

// Proven says whether the peer has answered on p: it receives there.
func (s *Selector) Proven(p Path) bool {
	return p == s.current || slices.ContainsFunc(s.known, func(k knownPath) bool { return k.path == p && !k.answered.IsZero() })
}
