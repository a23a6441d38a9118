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

// location is where one device is now and what is needed to speak to it. All
// fields are under the mutex of the core.
type location struct {
	subject     *replica.Subject
	nodeID      identity.NodeID
	assurance   identity.Assurance
	certificate []byte

	addr       netip.AddrPort // observed source; the zero AddrPort after logout
	nated      bool           // addr is none of the device's own addresses
	candidates []netip.AddrPort
	tag        uint32    // the device's receiver tag
	echo       uint64    // of the latest registration
	policy     uint64    // version that the device was told last
	announced  time.Time // when it was told without having asked
	keys       identity.SignalKeys
	lastSeen   time.Time

	logins     []*login
	requests   *rate.Limiter
	directions int // under way, as initiator
}

// login is one ticket of a device with the counters seen under it.
type login struct {
	nodeID     identity.NodeID
	sessionKey [32]byte
	notAfter   time.Time
	window     replayWindow
}

func newLocation() *location {
	return &location{requests: rate.NewLimiter(requestsPerSecond, requestBurst)}
}

func (l *location) registered(now time.Time) bool {
	return l != nil && l.addr.IsValid() && now.Sub(l.lastSeen) < locationTTL
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
	state := &login{nodeID: t.NodeID, sessionKey: t.SessionKey, notAfter: t.NotAfter}
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
func candidatesFor(viewer, peer *location) []netip.AddrPort {
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
func (l *location) families() (v4, v6 bool) {
	v4, v6 = l.addr.Addr().Is4(), l.addr.Addr().Is6()
	for _, c := range l.candidates {
		v4, v6 = v4 || c.Addr().Is4(), v6 || c.Addr().Is6()
	}
	return v4, v6
}

// routeKind chooses how two devices are expected to reach each other.
func routeKind(a, b *location, relayWanted bool) wire.RouteKind {
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

func (l *location) view() Location {
	v := Location{
		FQDN: l.subject.FQDN, NodeID: l.nodeID.String(), Network: l.subject.Network,
		Observed: l.addr, NATed: l.nated, Candidates: []string{}, LastSeen: l.lastSeen.UTC(),
	}
	for _, c := range l.candidates {
		v.Candidates = append(v.Candidates, c.String())
	}
	return v
}
