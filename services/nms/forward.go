package nms

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"
)

// Message is messages for one other replica, in the order in which they must
// arrive.
type Message struct {
	To   string
	Data []byte
}

// pending is a datagram that another replica has not acknowledged.
type pending struct {
	at      time.Time
	seq     uint64
	request *request // that it is; nil: it is for a device
	message []byte
	tries   uint8
}

// Messages takes out what other replicas must get, and acknowledges what they
// have sent. Who passes it on must keep the order.
func (c *Core) Messages(dst []Message) []Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.order {
		if p.received != p.answered {
			p.answered = p.received
			c.post(p, appendNumber(nil, linkAck, p.answered))
		}
		if len(p.out) > 0 {
			dst = append(dst, Message{p.name, p.out})
			p.out = nil
		}
	}
	return dst
}

// post sends a message to a peer, if it can be reached.
func (c *Core) post(p *peer, message []byte) {
	if p.link {
		p.out = append(p.out, message...)
	}
}

// expect sends a datagram that the peer must acknowledge.
func (c *Core) expect(p *peer, x pending) {
	p.sent++
	x.seq, x.at = p.sent, c.now
	p.waiting = append(p.waiting, x)
	c.post(p, x.message)
}

// dispatch gives an authenticated datagram to its owner.
func (c *Core) dispatch(r *request, b []byte, out []Datagram) []Datagram {
	if len(c.peers) == 0 || r.hedged || r.hops >= maxHops {
		return c.local(r, out)
	}
	owner, spare := c.owner(r.subject.UID)
	switch owner {
	case "":
		c.drop(dropNoOwner)
		return out
	case c.name:
		r.hedged = spare
		return c.local(r, out)
	}
	m := forwarded{hedged: spare, hops: r.hops + 1, src: r.src, gateway: r.gateway, data: b}
	return c.forward(c.peers[owner], pending{request: r, message: appendForward(nil, m)}, out)
}

// forward sends a device's datagram to a replica.
func (c *Core) forward(p *peer, x pending, out []Datagram) []Datagram {
	if len(p.waiting) >= maxUnacknowledged {
		p.slow = true
		return c.hedge(x, out)
	}
	c.metrics.forwarded.Inc()
	c.expect(p, x)
	return out
}

// elsewhere gives the first n datagrams that wait for a peer to somebody else. If
// nobody else would be faster, and the peer is alive, they go on waiting.
func (c *Core) elsewhere(p *peer, n int, out []Datagram) []Datagram {
	late := slices.Clone(p.waiting[:n])
	p.waiting = slices.Delete(p.waiting, 0, n)
	var kept []pending
	for _, x := range late {
		if x.request != nil && p.answers(c.now) {
			if other, _ := c.promptOwner(x.request.subject.UID); other == "" || x.tries >= maxTries {
				x.at = c.now
				kept = append(kept, x)
				continue
			}
		}
		out = c.hedge(x, out)
	}
	p.waiting = slices.Insert(p.waiting, 0, kept...)
	return out
}

// hedge gives a datagram that was not acknowledged to the next owner, or sends
// it from here if it is for a device.
func (c *Core) hedge(x pending, out []Datagram) []Datagram {
	c.metrics.hedged.Inc()
	if x.request == nil {
		d, err := parseDeliver(x.message[linkHeaderSize:])
		if err != nil {
			return out // cannot be: it was made here
		}
		return append(out, Datagram{d.To, bytes.Clone(d.Data)})
	}
	owner, _ := c.owner(x.request.subject.UID)
	if x.tries++; owner == "" || x.tries > maxTries {
		c.drop(dropNoOwner)
		return out
	}
	if owner == c.name {
		x.request.hedged = true
		return c.local(x.request, out)
	}
	m, err := parseForward(x.message[linkHeaderSize:])
	if err != nil {
		return out // cannot be: it was made here
	}
	m.hedged = true
	x.message = appendForward(nil, m)
	return c.forward(c.peers[owner], x, out)
}

// emit sends a datagram to a device through the replica at which the device's
// datagrams arrive, so that a balancer or a NAT knows the flow; from here if that
// replica does not answer or does not serve yet.
func (c *Core) emit(gateway string, d Datagram, out []Datagram) []Datagram {
	p := c.peers[gateway]
	if gateway == c.name || !p.answers(c.now) || !p.serves || p.slow || len(p.waiting) >= maxUnacknowledged {
		return append(out, d)
	}
	c.metrics.delivered.Inc()
	c.expect(p, pending{message: appendDeliver(nil, d)})
	return out
}

// HandleMessage takes one message, with its header, of another replica, in the
// order in which that has sent them. It keeps no reference to b.
func (c *Core) HandleMessage(now time.Time, from string, b []byte, out []Datagram) []Datagram {
	message, rest, err := NextLinkMessage(b)
	if err != nil || message == nil || len(rest) > 0 {
		c.drop(dropLinkMessage)
		return out
	}
	kind, payload := linkKind(message[0]), message[linkHeaderSize:]
	var r *request
	if kind == linkForward {
		m, err := parseForward(payload)
		if err != nil {
			c.drop(dropLinkMessage)
		} else {
			b = m.data
			r = c.open(now, m.src, m.data, arrival{gateway: m.gateway, hops: m.hops, hedged: m.hedged})
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	p := c.peers[from]
	if p == nil || !p.link {
		c.drop(dropLinkMessage)
		return out
	}
	p.heard, p.slow = now, false
	c.noteAlive(p)
	switch kind {
	case linkForward:
		p.received++
		if r != nil {
			out = c.dispatch(r, b, out)
		}
		return out
	case linkDeliver:
		p.received++
		d, err := parseDeliver(payload)
		if err != nil {
			c.drop(dropLinkMessage)
			return out
		}
		return append(out, Datagram{d.To, bytes.Clone(d.Data)})
	}
	out, err = c.handleLink(p, kind, payload, out)
	if err != nil {
		c.drop(dropLinkMessage)
	}
	return out
}

// handleLink takes a message that carries no datagram.
func (c *Core) handleLink(p *peer, kind linkKind, b []byte, out []Datagram) ([]Datagram, error) {
	switch kind {
	case linkPing:
	case linkView:
		return out, c.onView(p, b)
	case linkAck:
		return out, c.onAck(p, b)
	case linkLocation:
		return c.onLocation(p, b, out)
	case linkMark:
		return out, c.onMark(p, b)
	case linkFetch:
		return out, c.onFetch(p, b)
	case linkFound:
		return c.onFound(p, b, out)
	case linkBarrier:
		f := fields{b: b}
		c.post(p, appendNumber(nil, linkPassed, f.u64()))
	case linkPassed:
		f := fields{b: b}
		p.passed = max(p.passed, f.u64())
		c.step()
	case linkConfirm:
		return c.onConfirm(b, out)
	default:
		c.metrics.unknown.Inc() // of a newer replica
	}
	return out, nil
}

// onAck takes note of how many datagrams have arrived at a peer.
func (c *Core) onAck(p *peer, b []byte) error {
	if len(b) < 8 {
		return errLink
	}
	p.confirmed = binary.BigEndian.Uint64(b)
	n := 0
	for n < len(p.waiting) && p.waiting[n].seq <= p.confirmed {
		n++
	}
	p.waiting = slices.Delete(p.waiting, 0, n)
	return nil
}

// sendView tells a peer what this replica knows of the members.
func (c *Core) sendView(p *peer) { c.post(p, appendView(nil, c.members.Revision, p.member)) }

// onView hears what a peer knows of the members. If that is later than what this
// replica knows and does not have this replica, it has been removed: it owns
// nothing any more, until it finds itself in a membership as late.
func (c *Core) onView(p *peer, b []byte) error {
	f := fields{b: b}
	revision, member := int64(f.u64()), f.boolean()
	if f.bad {
		return errLink
	}
	p.view = revision
	if c.wasMember && !member && revision > c.members.Revision && revision > c.removedAt {
		c.removedAt = revision
		c.removed = true
		c.log.Warn("the other replicas see that this one has ended: it owns nothing until it is a member again", "revision", revision)
		c.refreshRing()
	}
	return nil
}
