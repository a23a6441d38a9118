package nms

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// contact is where one device is and what is needed to speak to it: what one
// replica tells another one that wants to reach the device.
type contact struct {
	subject     *replica.Subject
	nodeID      identity.NodeID
	assurance   identity.Assurance
	certificate []byte

	addr       netip.AddrPort // observed source; the zero AddrPort after logout
	nated      bool           // addr is none of the device's own addresses
	candidates []netip.AddrPort
	gateway    string // the replica at which the device's datagrams arrive
	tag        uint32 // the device's receiver tag
	echo       uint64 // of the latest registration
	policy     uint64 // version that the device was told last
	sessionKey [32]byte
	keys       identity.SignalKeys // of sessionKey, if keyed
	keyed      bool
	lastSeen   time.Time
	stamp      stamp // of the latest datagram
	made       stamp // of the registration that the contact is from
}

// newer reports whether a contact is from a later registration than another one, or from the same and the device has been
// heard from since. What the device sends under a new login may overtake the registration that tells of it.
func (l *contact) newer(o *contact) bool {
	return l.made.after(o.made) || l.made == o.made && l.stamp.after(o.stamp)
}

// stamp orders what a device has sent, whichever replica has received it: a
// device counts on from one login to the next.
type stamp struct {
	notAfter int64 // of the ticket, seconds since 1970
	counter  uint64
}

func (s stamp) after(o stamp) bool {
	return s.notAfter > o.notAfter || s.notAfter == o.notAfter && s.counter > o.counter
}

// location is a contact with the replay state, at its owner or as a copy. All
// fields are under the mutex of the core.
type location struct {
	contact
	uid        string
	place      int       // in the row of the core
	announced  time.Time // when the device was told of a policy version without having asked
	challenged time.Time // when the device was asked to show that it is still where it was
	logins     []*login
	requests   *rate.Limiter
	directions int // under way, as initiator

	acting string    // the replica that decides what is fresh
	epoch  uint64    // how often that has changed; the higher one is right
	sure   time.Time // when this replica last knew that nobody else decides, if it is the acting one; zero: never
	doubt  time.Time // not zero: who acted before may have seen more; the device must show that it is there since then
	lapsed bool      // this replica neither acts nor holds the copy since: what is here may be old, until it is told anew
	copies []holder
	latest seen
}

// seen is the latest datagram of a device.
type seen struct {
	login   [8]byte // name of the login
	counter uint64
}

// holder is a replica that has a complete copy, if it has not come or gone since.
type holder struct {
	name string
	link uint64
}

// login is one ticket of a device with the counters seen under it.
type login struct {
	name       [8]byte // the beginning of the SHA-256 of the session key
	nodeID     identity.NodeID
	sessionKey [32]byte
	notAfter   time.Time
	window     replayWindow
}

func newLocation() *location {
	return &location{requests: rate.NewLimiter(requestsPerSecond, requestBurst)}
}

func (l *contact) registered(now time.Time) bool {
	return l != nil && l.addr.IsValid() && now.Sub(l.lastSeen) < locationTTL
}

// contactOf is the contact of a location that may be nil.
func contactOf(l *location) *contact {
	if l == nil {
		return nil
	}
	return &l.contact
}

// login finds the replay state of a ticket. known is false for a ticket that
// has not been seen; stale is true when it must be refused because a later
// login of the device is known and this one's replay state may be gone.
func (l *location) login(t *identity.Ticket) (state *login, stale bool) {
	for _, s := range l.logins {
		if s.sessionKey == t.SessionKey {
			return s, false
		}
	}
	for _, s := range l.logins {
		if t.NotAfter.Before(s.notAfter) {
			return nil, true
		}
	}
	if len(l.logins) == maxLogins && !l.logins[0].notAfter.Before(t.NotAfter) {
		return nil, true
	}
	return nil, false
}

// addLogin follows a new ticket for which login said that it is not stale. The
// oldest one makes room: its tickets are older than the newest and so refused
// from now on.
func (l *location) addLogin(t *identity.Ticket) *login {
	state := &login{name: loginName(t.SessionKey), nodeID: t.NodeID, sessionKey: t.SessionKey, notAfter: t.NotAfter}
	if len(l.logins) == maxLogins {
		l.logins = slices.Delete(l.logins, 0, 1)
	}
	l.logins = append(l.logins, state)
	return state
}

// superseded reports whether another key of the device has logged in after the
// login: two devices cannot be the same subject, the later one is.
func (l *location) superseded(state *login) bool {
	return l.logins[len(l.logins)-1].nodeID != state.nodeID
}

// usable keeps the candidates at which a peer could reach a device: addresses
// with a port that are neither special nor inside the overlay itself.
func usable(candidates []netip.AddrPort, network *replica.Network) []netip.AddrPort {
	var out []netip.AddrPort
	for _, c := range candidates {
		c = netip.AddrPortFrom(c.Addr().Unmap(), c.Port())
		addr := c.Addr()
		if c.Port() == 0 || !addr.IsGlobalUnicast() {
			continue
		}
		if network != nil && (network.IPv4Prefix.Contains(addr) || network.IPv6Prefix.Contains(addr)) {
			continue
		}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// candidatesFor lists where viewer should try to reach peer, the best first:
// the address that the NMS observed, the peer's own addresses of that family,
// those of the other family. Behind the same NAT the own addresses come first,
// because not every NAT carries packets between two of its inner hosts.
func candidatesFor(viewer, peer *contact) []netip.AddrPort {
	observed := peer.addr
	var same, other []netip.AddrPort
	for _, c := range peer.candidates {
		switch {
		case c == observed:
		case c.Addr().Is4() == observed.Addr().Is4():
			same = append(same, c)
		default:
			other = append(other, c)
		}
	}
	var out []netip.AddrPort
	if peer.nated && viewer.addr.Addr() == observed.Addr() {
		out = append(append(out, same...), observed)
	} else {
		out = append(append(out, observed), same...)
	}
	out = append(out, other...)
	return out[:min(len(out), wire.MaxCandidates)]
}

// families reports which address families a device can be reached by.
func (l *contact) families() (v4, v6 bool) {
	v4, v6 = l.addr.Addr().Is4(), l.addr.Addr().Is6()
	for _, c := range l.candidates {
		v4, v6 = v4 || c.Addr().Is4(), v6 || c.Addr().Is6()
	}
	return v4, v6
}

// routeKind chooses how two devices are expected to reach each other.
func routeKind(a, b *contact, relayWanted bool) wire.RouteKind {
	a4, a6 := a.families()
	b4, b6 := b.families()
	switch {
	case relayWanted || !(a4 && b4 || a6 && b6):
		return wire.RouteRelayed
	case a.nated || b.nated:
		return wire.RoutePunched
	default:
		return wire.RouteDirect
	}
}

// Location is a row of the operator's view of the location table.
type Location struct {
	FQDN       string         `json:"fqdn"`
	NodeID     string         `json:"nodeID"`
	Network    string         `json:"network"`
	Observed   netip.AddrPort `json:"observed"` // the real source address of the last registration
	NATed      bool           `json:"nated"`
	Candidates []string       `json:"candidates"`
	LastSeen   time.Time      `json:"lastSeen"`
}

func (l *contact) view() Location {
	v := Location{
		FQDN: l.subject.FQDN, NodeID: l.nodeID.String(), Network: l.subject.Network,
		Observed: l.addr, NATed: l.nated, Candidates: []string{}, LastSeen: l.lastSeen.UTC(),
	}
	for _, c := range l.candidates {
		v.Candidates = append(v.Candidates, c.String())
	}
	return v
}
