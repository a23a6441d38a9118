package nms

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/policy"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// directionKey recognises the retransmission of a request.
type directionKey struct {
	initiator string // UID
	requestID uint64
}

// direction is one request on its way from the initiator over the responder's
// confirmation to both.
type direction struct {
	id, requestID        uint64
	initiator, responder string // UIDs
	relayWanted          bool
	relayElse            bool        // another relay than the chosen one
	policy               uint64      // version under which it was planned
	rules                []wire.Rule // as the initiator sees them
	relays               [2]wire.Relay
	confirmed            bool
	failure              wire.FailureCode // 0: none
	expires              time.Time
}

// sides of a direction, also the index into relays.
const (
	sideInitiator = 0
	sideResponder = 1
)

// requestDirection starts a direction or, for a retransmission, repeats its
// last step.
func (c *Core) requestDirection(now time.Time, r *request, loc *location, body wire.DirectionRequest, out []Datagram) ([]Datagram, dropReason) {
	if !loc.registered(now) {
		return c.fail(r, body.RequestID, wire.FailureBusy, out), dropNotRegistered
	}
	if !loc.requests.AllowN(now, 1) {
		return c.fail(r, body.RequestID, wire.FailureBusy, out), dropNone
	}
	target := c.resolve(r, body.Target)
	if target == nil || target == r.subject {
		return c.fail(r, body.RequestID, wire.FailureUnknown, out), dropNone
	}
	if c.mustLookUp(target.UID) {
		return c.lookUp(target.UID, r, out)
	}
	return c.direct(now, r, loc, target, contactOf(c.locations[target.UID]), body, out)
}

// direct goes on with a request when it is known where the responder is.
func (c *Core) direct(
	now time.Time, r *request, loc *location, target *replica.Subject, responder *contact, body wire.DirectionRequest, out []Datagram,
) ([]Datagram, dropReason) {
	key := directionKey{r.subject.UID, body.RequestID}
	d := c.directions[key]
	if d != nil && (!now.Before(d.expires) || d.responder != target.UID || d.policy != r.snap.PolicyVersion(r.subject.Network)) {
		c.forget(key, d)
		d = nil
	}
	if d == nil {
		var code wire.FailureCode
		if d, code = c.plan(now, r, loc, target, responder, body); code != 0 {
			return c.fail(r, body.RequestID, code, out), dropNone
		}
		c.directions[key], c.byID[d.id] = d, d
		loc.directions++
	}
	switch {
	case d.failure != 0:
		return c.fail(r, body.RequestID, d.failure, out), dropNone
	case !responder.registered(now):
		return c.fail(r, body.RequestID, wire.FailureOffline, out), dropNone
	case d.confirmed:
		return c.route(d, &loc.contact, responder, out), dropNone
	}
	return c.send(responder, "confirmation", wire.Confirmation{
		Echo: responder.echo, DirectionID: d.id, Direction: d.describe(sideResponder, responder, &loc.contact),
	}, out), dropNone
}

// plan decides whether and how the request can be met. code is not 0 if not.
func (c *Core) plan(
	now time.Time, r *request, loc *location, target *replica.Subject, responder *contact, body wire.DirectionRequest,
) (*direction, wire.FailureCode) {
	online := responder.registered(now)
	assurance := identity.AssuranceKey // nobody knows yet: the best that there may be
	if online {
		assurance = responder.assurance
	}
	rules, truncated := r.snap.Policies().Evaluate(
		r.subject.PolicySubject(r.ticket.Assurance), target.PolicySubject(assurance))
	if truncated {
		c.metrics.truncated.Inc()
	}
	if enabled, _ := r.snap.Enabled(target); !enabled || len(rules) == 0 {
		return nil, wire.FailureDenied
	}
	if responder != nil && stillValid(r.snap, target, responder) != dropNone {
		return nil, wire.FailureDenied // who is there has lost the name: what others have with it must end
	}
	if !online {
		return nil, wire.FailureOffline
	}
	if loc.directions >= maxDirectionsPerDevice || len(c.directions) >= maxDirections {
		return nil, wire.FailureBusy
	}
	d := &direction{
		requestID: body.RequestID, initiator: r.subject.UID, responder: target.UID, rules: rules,
		relayWanted: body.Flags&wire.DirectionRelayWanted != 0, relayElse: body.Flags&wire.DirectionRelayElse != 0,
		expires: now.Add(directionTTL),
		policy:  r.snap.PolicyVersion(r.subject.Network),
	}
	if err := c.identify(d); err != nil {
		c.log.Error("direction not planned", "error", err)
		return nil, wire.FailureInternal
	}
	if err := c.mintRelays(now, r.snap, d, &loc.contact, responder); err != nil {
		c.log.Error("relay tokens not made", "error", err)
		return nil, wire.FailureInternal
	}
	if routeKind(&loc.contact, responder, d.relayWanted) == wire.RouteRelayed && len(d.relays[sideInitiator].Token) == 0 {
		c.log.Warn("no relay for two devices that need one: apply a CloudService of service trs",
			"initiator", r.subject.FQDN, "responder", target.FQDN)
		return nil, wire.FailureInternal
	}
	return d, 0
}

func (c *Core) resolve(r *request, t wire.Target) *replica.Subject {
	if t.FQDN != "" {
		return r.snap.SubjectByFQDN(r.subject.Network, t.FQDN)
	}
	return r.snap.SubjectByAddr(r.subject.Network, t.Addr)
}

// stillValid holds a location against the desired state as checkSubject holds
// a ticket, so that a device that has just lost its rights is not handed out.
func stillValid(snap *replica.Snapshot, s *replica.Subject, l *contact) dropReason {
	if l.subject.Network != s.Network || l.subject.FQDN != s.FQDN || l.subject.IPv4 != s.IPv4 || l.subject.IPv6 != s.IPv6 {
		return dropMismatch
	}
	if l.assurance < s.Assurance {
		return dropAssurance
	}
	if l.subject.Adapter != s.Adapter {
		return dropAdapter
	}
	if key, ok := snap.Enrolled(s); ok && key.NodeID() != l.nodeID {
		return dropSuperseded
	}
	return dropNone
}

// identify gives a direction an identifier that no other one has. It begins
// with the tag of this replica, so that others know whom to tell the answer.
func (c *Core) identify(d *direction) error {
	var b [8]byte
	for {
		if _, err := io.ReadFull(c.rand, b[:]); err != nil {
			return fmt.Errorf("read a direction identifier: %w", err)
		}
		d.id = binary.BigEndian.Uint64(b[:])&^(0xffff<<48) | uint64(c.tag)<<48
		if d.id != 0 && c.byID[d.id] == nil {
			return nil
		}
	}
}

// confirm takes the responder's answer. changed says that it has told new
// candidates. The replica that coordinates the direction does the rest.
func (c *Core) confirm(
	now time.Time, r *request, loc *location, body wire.ConfirmationResponse, out []Datagram,
) (_ []Datagram, changed bool, _ dropReason) {
	d := c.byID[body.DirectionID]
	if d == nil && !c.coordinatedElsewhere(body.DirectionID) || d != nil && d.responder != r.subject.UID {
		return out, false, dropNoDirection
	}
	if !loc.registered(now) {
		return out, false, dropNotRegistered
	}
	told := loc.contact
	if own := usable(body.Candidates, r.snap.Network(r.subject.Network)); body.Accept && len(own) > 0 {
		changed = !slices.Equal(own, loc.candidates)
		told.candidates = own
	}
	if d == nil {
		loc.candidates = told.candidates
		return out, changed, c.passOn(body, r.subject.UID, &loc.contact)
	}
	out, reason := c.settle(now, d, &told, body.Accept, out)
	if reason != dropNone {
		return out, false, reason
	}
	loc.candidates = told.candidates
	return out, changed, dropNone
}

// settle gives a direction the responder's answer and, if it accepts, directs
// both.
func (c *Core) settle(now time.Time, d *direction, responder *contact, accept bool, out []Datagram) ([]Datagram, dropReason) {
	if !now.Before(d.expires) || d.policy != c.snapshot().PolicyVersion(responder.subject.Network) {
		return out, dropNoDirection
	}
	initiator := contactOf(c.locations[d.initiator])
	if !initiator.registered(now) || !responder.registered(now) {
		return out, dropNotRegistered
	}
	if !accept {
		if !d.confirmed {
			d.failure = wire.FailureRejected
			c.count(d.failure.String())
			return c.send(initiator, "direction_failure",
				wire.DirectionFailure{RequestID: d.requestID, Code: d.failure}, out), dropNone
		}
		return out, dropNone
	}
	if d.failure != 0 {
		return out, dropNoDirection
	}
	if !d.confirmed {
		d.confirmed = true
		c.count(routeKind(initiator, responder, d.relayWanted).String())
	}
	return c.route(d, initiator, responder, out), dropNone
}

// route tells both sides how to reach each other.
func (c *Core) route(d *direction, initiator, responder *contact, out []Datagram) []Datagram {
	kind := routeKind(initiator, responder, d.relayWanted)
	out = c.send(responder, "route_direction", wire.RouteDirection{
		Echo: responder.echo, DirectionID: d.id, Kind: kind,
		Direction: d.describe(sideResponder, responder, initiator),
	}, out)
	return c.send(initiator, "route_direction", wire.RouteDirection{
		Echo: d.requestID, DirectionID: d.id, Initiator: true, Kind: kind,
		Direction: d.describe(sideInitiator, initiator, responder),
	}, out)
}

// describe is the direction as one side needs it.
func (d *direction) describe(side int, viewer, peer *contact) wire.Direction {
	rules := d.rules
	if side == sideResponder {
		rules = policy.Mirror(rules)
	}
	return wire.Direction{
		PeerCertificate: peer.certificate, PeerTag: peer.tag,
		Candidates: candidatesFor(viewer, peer), Relay: d.relays[side], Rules: rules,
		TTL: uint16(peeringTTL / time.Second),
	}
}

// fail answers a request that cannot be met.
func (c *Core) fail(r *request, requestID uint64, code wire.FailureCode, out []Datagram) []Datagram {
	c.count(code.String())
	return c.reply(r, "direction_failure", wire.DirectionFailure{RequestID: requestID, Code: code}, out)
}

func (c *Core) count(outcome string) { c.metrics.directions.WithLabelValues(outcome).Inc() }

// forget removes a direction.
func (c *Core) forget(key directionKey, d *direction) {
	delete(c.directions, key)
	delete(c.byID, d.id)
	if l := c.locations[d.initiator]; l != nil && l.directions > 0 {
		l.directions--
	}
}
