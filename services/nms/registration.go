package nms

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// register records where a device is. loc is nil, of an earlier key of the
// device, or its present location. changed says that copies must be made anew.
func (c *Core) register(
	now time.Time, r *request, loc *location, body wire.Registration, out []Datagram,
) (_ []Datagram, changed bool, _ dropReason) {
	if loc == nil || !bytes.Equal(loc.certificate, body.Certificate) {
		if !certifies(body.Certificate, r.ticket, now) {
			return out, false, dropCertificate
		}
	}
	if loc == nil {
		if len(c.locations) >= maxLocations {
			return out, false, dropTableFull
		}
		loc = newLocation()
		loc.acting, loc.epoch, loc.sure = c.name, 1, now
		state := loc.addLogin(r.ticket)
		state.window.shut(r.counter)
		loc.latest = seen{state.name, r.counter}
		c.enter(r.subject.UID, loc)
		c.metrics.locations.Set(float64(len(c.locations)))
	}
	if loc.made.after(r.stamp()) && loc.nodeID == r.ticket.NodeID {
		return c.reply(r, "registration_ack", loc.ack(body.Echo), out), false, dropNone // a later one has overtaken it
	}
	moved := loc.addr != r.src
	before := loc.contact
	loc.made = r.stamp()
	if moved || !loc.stamp.after(loc.made) {
		loc.gateway, loc.stamp = r.gateway, loc.made
	}
	loc.subject, loc.nodeID, loc.assurance = r.subject, r.ticket.NodeID, r.ticket.Assurance
	loc.certificate = body.Certificate
	loc.addr, loc.tag, loc.echo, loc.lastSeen = r.src, r.tag, body.Echo, now
	loc.keys, loc.keyed, loc.sessionKey = r.keys, true, r.ticket.SessionKey
	loc.nated = !slices.ContainsFunc(body.Candidates, func(a netip.AddrPort) bool {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) == r.src
	})
	loc.candidates = usable(body.Candidates, r.snap.Network(r.subject.Network))
	c.log.Debug("registration", "fqdn", r.subject.FQDN, "node", loc.nodeID.Short(), "observed", r.src,
		"nated", loc.nated, "candidates", loc.candidates, "moved", moved)
	loc.policy = r.snap.PolicyVersion(r.subject.Network)
	changed = moved || before.tag != loc.tag || before.nodeID != loc.nodeID || before.sessionKey != loc.sessionKey ||
		!bytes.Equal(before.certificate, loc.certificate) || !slices.Equal(before.candidates, loc.candidates)
	return c.reply(r, "registration_ack", loc.ack(body.Echo), out), changed, dropNone
}

// certifies reports whether a certificate belongs to the ticket. Its signature
// is for the peers to verify: the NMS only keeps a device from handing out
// somebody else's certificate.
func certifies(raw []byte, t *identity.Ticket, now time.Time) bool {
	cert, err := identity.ParseCertificate(raw)
	return err == nil && cert.NodeID() == t.NodeID && cert.Network == t.Network &&
		cert.VirtualIPv4 == t.VirtualIPv4 && cert.VirtualIPv6 == t.VirtualIPv6 &&
		cert.Assurance == t.Assurance && now.Before(cert.NotAfter)
}

// logout makes a device unreachable. Its replay state stays until the location
// ends, so that an earlier registration cannot be replayed.
func (c *Core) logout(now time.Time, loc *location) {
	c.log.Debug("logout", "fqdn", loc.subject.FQDN, "node", loc.nodeID.Short(), "observed", loc.addr)
	loc.addr, loc.lastSeen = netip.AddrPort{}, now
}

// stamp orders the request among all that its device sends.
func (r *request) stamp() stamp { return stamp{r.ticket.NotAfter.Unix(), r.counter} }
