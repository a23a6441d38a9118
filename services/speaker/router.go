// Package speaker announces the addresses of the cloud's services to the routers of its host by BGP, and only while the
// host serves them: a local replica has registered over the unix socket and is ready, and the packet filter spreads to
// it. It refuses every route that a router sends and announces nothing but host routes (/32, /128).
//
// What shall be is a pure function of what is known (core.go); Speaker compares it with what is, again and again, and
// makes the difference good. The package must not know what a replica serves; the protocol is in package gobgp, the
// packet filter in netfilter, the detection of lost links in bfd.
package speaker

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// Secret is the password of a session. It shows itself to nobody.
type Secret string

// String hides the secret.
func (Secret) String() string { return "[secret]" }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Peer is a neighbour. Two that are equal need one session; a change of any field needs a new one.
type Peer struct {
	Name              string // of the BGPPeer
	Address           netip.Addr
	Port              uint16
	PeerASN, LocalASN uint32
	LocalAddress      netip.Addr // zero: the system's choice
	Password          Secret     // empty: none
	HoldTime          time.Duration
	ConnectRetry      time.Duration
	MultihopTTL       uint8 // 0: on the link
	TTLSecurity       bool
	Passive           bool
	IPv4, IPv6        bool // families that are announced
	ExtendedNextHop   bool
	MaxReceived       uint32 // prefixes of each family
}

// Internal tells whether the session is within one autonomous system (iBGP).
func (p Peer) Internal() bool { return p.PeerASN == p.LocalASN }

// carries tells whether prefixes of the address's family are announced to the peer.
func (p Peer) carries(a netip.Addr) bool { return a.Is4() && p.IPv4 || a.Is6() && p.IPv6 }

// Well-known communities.
const (
	GracefulShutdown uint32 = 0xffff0000 // RFC 8326
)

// LargeCommunity is one of RFC 8092.
type LargeCommunity [3]uint32

// Attributes of an announced route.
type Attributes struct {
	Communities      []uint32         // sorted
	LargeCommunities []LargeCommunity // sorted
	LocalPreference  uint32           // internal sessions only
	MED              uint32           // 0: none
	Prepend          uint8            // how often LocalASN is put before the path once more; external sessions only
}

// DefaultLocalPreference is what is sent unless a BGPAdvertisement says otherwise.
const DefaultLocalPreference = 100

// Equal compares attributes.
func (a Attributes) Equal(b Attributes) bool {
	return slices.Equal(a.Communities, b.Communities) && slices.Equal(a.LargeCommunities, b.LargeCommunities) &&
		a.LocalPreference == b.LocalPreference && a.MED == b.MED && a.Prepend == b.Prepend
}

// leaving is how a route is announced shortly before it is withdrawn: external routers that honour RFC 8326 lower the
// preference by the community, internal ones get the lowest preference as such (RFC 8326, section 4.2).
func (a Attributes) leaving() Attributes {
	a.Communities = slices.Clone(a.Communities)
	if i, found := slices.BinarySearch(a.Communities, GracefulShutdown); !found {
		a.Communities = slices.Insert(a.Communities, i, GracefulShutdown)
	}
	a.LocalPreference = 0
	return a
}

// State of a session (RFC 4271, section 8.2.2).
type State string

// The states.
const (
	Idle        State = "Idle"
	Connect     State = "Connect"
	Active      State = "Active"
	OpenSent    State = "OpenSent"
	OpenConfirm State = "OpenConfirm"
	Established State = "Established"
)

// Session is what is known about the session with a peer.
type Session struct {
	State      State
	Since      time.Time
	Received   int        // prefixes that the peer announces, all refused
	Advertised int        // prefixes that are announced to it
	Local      netip.Addr // address of this end, if Established
	Flaps      uint64     // how often it was lost
	Full       bool       // it is shut down because the peer announced too many prefixes
	Reason     string     // why it is not Established, or was lost last
}

// Router speaks BGP. A call about one peer does not disturb sessions with others. It is used by one goroutine.
type Router interface {
	// SetPeer begins or replaces the session of a peer.
	SetPeer(Peer) error
	// RemovePeer ends the session; what is announced to the peer is announced again when it comes back.
	RemovePeer(name string)
	// Announce announces a prefix to a peer that was set at some time, or changes its attributes.
	Announce(peer string, prefix netip.Prefix, attributes Attributes) error
	Withdraw(peer string, prefix netip.Prefix) error
	// Forget removes all that was kept for a peer.
	Forget(peer string)
	Sessions() map[string]Session
	// Changed is written to after the state of a session has changed.
	Changed() <-chan struct{}
	// Close ends all sessions.
	Close()
}
