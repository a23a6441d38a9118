package nms

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// fetch is a question to other replicas about a location: to decide what is
// fresh (claim), or where a responder is.
type fetch struct {
	id       uint64
	uid      string
	claim    bool
	begun    time.Time
	asked    []string  // who has been asked
	open     []string  // who of them has not answered yet
	heard    bool      // somebody has answered
	silent   time.Time // when the one that did not answer was last known to live; zero: all did
	missing  time.Time // the same of those that could not be asked
	best     *contact  // of a lookup
	old      bool      // the best may be old
	requests []*request
}

// local decides about a request whose owner this replica is, as far as it knows.
func (c *Core) local(r *request, out []Datagram) []Datagram {
	if c.refusing && r.isNew() {
		c.drop(dropFinishing)
		return out
	}
	if len(c.peers) == 0 {
		return c.apply(r, out)
	}
	uid := r.subject.UID
	loc := c.locations[uid]
	switch {
	case loc != nil && loc.acting == c.name && c.certain(loc):
		r.prove = loc.doubt
	case loc != nil && loc.acting != c.name && !c.alive(loc.acting):
		// The device must show that this is no datagram which that one has taken.
		r.prove = c.heard(loc.acting)
	case loc != nil && loc.acting != c.name && r.hedged && !loc.lapsed:
		r.deputy = true
	default:
		return c.claim(uid, r, out)
	}
	return c.apply(r, out)
}

// certain reports whether nobody else can have acted for a location for which
// this replica acts.
func (c *Core) certain(l *location) bool { return !l.sure.IsZero() && !l.sure.Before(c.resumed) }

// sole reports whether this replica decides about a location and lacks nothing.
func (c *Core) sole(l *location) bool {
	return l.acting == c.name && c.certain(l) && l.doubt.IsZero()
}

// claim asks the other replicas that may have a location for it, and for the
// right to act, before the request is decided.
func (c *Core) claim(uid string, r *request, out []Datagram) []Datagram {
	f := c.claims[uid]
	switch {
	case f != nil && len(f.requests) >= maxParked, f == nil && len(c.fetches) >= maxFetches:
		c.drop(dropWaiting)
		return out
	case f != nil:
		f.requests = append(f.requests, r)
		return out
	}
	f = &fetch{uid: uid, claim: true, requests: []*request{r}}
	c.claims[uid] = f
	return c.ask(f, out)
}

// mustLookUp reports whether others know better where a device is.
func (c *Core) mustLookUp(uid string) bool {
	loc := c.locations[uid]
	return len(c.peers) > 0 && (loc == nil || loc.acting != c.name || !c.certain(loc))
}

// lookUp asks the other replicas where the responder of a request is.
func (c *Core) lookUp(uid string, r *request, out []Datagram) ([]Datagram, dropReason) {
	if len(c.fetches) >= maxFetches {
		return out, dropWaiting
	}
	f := &fetch{uid: uid, requests: []*request{r}}
	if loc := c.locations[uid]; loc != nil {
		own := loc.contact
		f.best, f.old = &own, loc.lapsed
	}
	return c.ask(f, out), dropNone
}

// The kinds of questions are the two lowest bits of their numbers, so that late
// answers are understood.
const (
	fetchLookup = 0 // where is the device?
	fetchClaim  = 1 // who acts for it? Let me
	fetchCopy   = 2 // this replica lacks the copy that it should have
)

func (c *Core) nextFetch(kind uint64) uint64 {
	c.fetchID++
	return c.fetchID<<2 | kind
}

// ask sends the question to all who may know: the owners now and before, and
// whoever acts.
func (c *Core) ask(f *fetch, out []Datagram) []Datagram {
	id := c.nextFetch(fetchLookup)
	if f.claim {
		id = c.nextFetch(fetchClaim)
	}
	f.id, f.begun = id, c.now
	c.fetches[id] = f
	c.metrics.fetches.Inc()
	var acting []string
	if loc := c.locations[f.uid]; loc != nil {
		acting = []string{loc.acting}
	}
	before := c.rank(nil, f.uid, c.before)
	for _, list := range [][]string{acting, c.ranked(f.uid), before} {
		for _, name := range list {
			c.askOne(id, f, name)
		}
	}
	if len(f.open) == 0 {
		return c.finish(id, f, out)
	}
	return out
}

func (c *Core) askOne(id uint64, f *fetch, name string) {
	if name == c.name || slices.Contains(f.asked, name) {
		return
	}
	p := c.peers[name]
	if !p.answers(c.now) {
		f.missing = later(f.missing, c.heard(name))
		return
	}
	f.asked, f.open = append(f.asked, name), append(f.open, name)
	c.post(p, appendFetch(id, f.claim, f.uid))
}

func appendFetch(id uint64, claim bool, uid string) []byte {
	b := binary.BigEndian.AppendUint64(begin(nil, linkFetch), id)
	return end(appendText(appendBool(b, claim), uid), 0)
}

// onFetch answers a question. With a claim, this replica no longer acts.
func (c *Core) onFetch(p *peer, b []byte) error {
	f := fields{b: b}
	id, claim, uid := f.u64(), f.boolean(), f.text()
	if f.bad {
		return errLink
	}
	loc, state := c.locations[uid], foundNothing
	if loc != nil {
		switch state = foundCopy; {
		case loc.lapsed:
			state = foundLapsed
		case claim && c.sole(loc):
			state = foundGiven
			loc.acting = p.name
			loc.epoch++
		}
	}
	answer := append(binary.BigEndian.AppendUint64(begin(nil, linkFound), id), state)
	if loc != nil {
		answer = append(answer, c.recordOf(uid, loc)...)
	}
	c.post(p, end(answer, 0))
	return nil
}

// What has been found.
const (
	foundNothing uint8 = 0
	foundCopy    uint8 = 1
	foundGiven   uint8 = 2 // who answers has acted for the device until now
	foundLapsed  uint8 = 3 // a copy that nobody keeps up to date; before it was told apart, foundCopy
)

// onFound takes an answer.
func (c *Core) onFound(p *peer, b []byte, out []Datagram) ([]Datagram, error) {
	h := fields{b: b}
	id, state := h.u64(), h.u8()
	if h.bad {
		return out, errLink
	}
	f := c.fetches[id]
	if state == foundNothing {
		return c.answered(id, f, p.name, false, out), nil
	}
	r, err := parseRecord(h.b, c.now)
	if err != nil {
		return c.answered(id, f, p.name, true, out), err
	}
	if f != nil && r.uid != f.uid {
		return out, errLink
	}
	if id&3 != fetchLookup {
		c.merge(r, state == foundGiven)
		if loc := c.locations[r.uid]; f != nil && loc != nil && loc.acting != c.name {
			c.askOne(id, f, loc.acting)
		}
		if out = c.given(r.uid, out); c.fetches[id] == nil {
			return out, nil
		}
		return c.answered(id, f, p.name, false, out), nil
	}
	if f == nil {
		return out, nil // too late
	}
	kept := state != foundLapsed
	if f.best == nil || r.contact.newer(f.best) || (f.old && kept || r.acting == p.name) && !f.best.newer(&r.contact) {
		c.known(r.uid, &r.contact)
		f.best, f.old = &r.contact, !kept
	}
	if r.acting == p.name && kept {
		f.open = []string{p.name} // who acts knows best
	}
	return c.answered(id, f, p.name, false, out), nil
}

// given ends a claim when who has acted until now has given the location to this
// replica, with all that was known: what others answer changes nothing, and what
// the device sends from now on does not wait either.
func (c *Core) given(uid string, out []Datagram) []Datagram {
	if f, l := c.claims[uid], c.locations[uid]; f != nil && l != nil && c.sole(l) {
		return c.finish(f.id, f, out)
	}
	return out
}

// answered notes that a replica has answered, or will not.
func (c *Core) answered(id uint64, f *fetch, name string, failed bool, out []Datagram) []Datagram {
	if f == nil {
		return out
	}
	i := slices.Index(f.open, name)
	if i < 0 {
		return out
	}
	f.open = slices.Delete(f.open, i, i+1)
	if failed {
		f.silent = later(f.silent, c.heard(name))
	} else {
		f.heard = true
	}
	if len(f.open) == 0 {
		return c.finish(id, f, out)
	}
	return out
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// expireFetches goes on without the answers that have not come.
func (c *Core) expireFetches(out []Datagram) []Datagram {
	for id, f := range c.fetches {
		waited := c.now.Sub(f.begun)
		if waited < lookupHedge || waited < fetchTimeout && (f.claim || f.best == nil || f.old) {
			continue
		}
		for _, name := range f.open {
			f.silent = later(f.silent, c.heard(name))
		}
		c.metrics.unanswered.Inc()
		out = c.finish(id, f, out)
	}
	return out
}

// finish goes on with the requests that have waited.
func (c *Core) finish(id uint64, f *fetch, out []Datagram) []Datagram {
	delete(c.fetches, id)
	if f.claim {
		delete(c.claims, f.uid)
	}
	if f.claim && c.locations[f.uid] == nil {
		// The device will be challenged. It answers few challenges, and knows its latest request.
		for range len(f.requests) - 1 {
			c.drop(dropChallenged)
		}
		f.requests = f.requests[len(f.requests)-1:]
	}
	for _, r := range f.requests {
		if f.claim {
			out = c.claimed(f, r, out)
		} else {
			out = c.found(f, r, out)
		}
	}
	return out
}

// claimed decides about a request after what others have said.
func (c *Core) claimed(f *fetch, r *request, out []Datagram) []Datagram {
	loc := c.locations[f.uid]
	r.prove = f.silent
	switch {
	case loc == nil:
		// Whoever had it may be gone.
		r.prove = later(later(r.prove, f.missing), later(c.since, c.resumed))
	case loc.acting != c.name && c.alive(loc.acting):
		r.deputy = true
	case loc.acting != c.name:
		r.prove = later(r.prove, c.heard(loc.acting))
	case c.sole(loc):
		r.prove = time.Time{} // given meanwhile
	case f.heard && f.silent.IsZero() && f.missing.IsZero():
		loc.sure = c.now
		r.prove = loc.doubt
	default:
		r.prove = later(later(r.prove, f.missing), later(c.resumed, loc.doubt))
	}
	return c.apply(r, out)
}

// found goes on with a direction request when it is known where the responder
// is, or that nobody knows. If somebody has not answered, the device asks again.
func (c *Core) found(f *fetch, r *request, out []Datagram) []Datagram {
	body, ok := r.body.(wire.DirectionRequest)
	loc := c.locations[r.subject.UID]
	target := r.snap.SubjectByUID(f.uid)
	if !ok || !loc.registeredAt(c.now) || target == nil {
		c.drop(dropNotRegistered)
		return out
	}
	unsure := slices.ContainsFunc(c.ranked(f.uid), func(name string) bool { return !c.alive(name) })
	if f.best == nil && (unsure || !f.silent.IsZero()) {
		c.drop(dropWaiting)
		return out
	}
	out, reason := c.direct(c.now, r, loc, target, f.best, body, out)
	if reason != dropNone {
		c.drop(reason)
	}
	return out
}

func (l *location) registeredAt(now time.Time) bool { return contactOf(l).registered(now) }

// provenSince is the time since which the cookie of a request must have been
// made: a device that nobody knows may have been forgotten with its replay state.
func (c *Core) provenSince(r *request, loc *location) time.Time {
	if loc == nil {
		return later(r.prove, c.since)
	}
	return r.prove
}

// coordinatedElsewhere reports whether another replica may know a direction.
func (c *Core) coordinatedElsewhere(id uint64) bool {
	return slices.ContainsFunc(c.order, func(p *peer) bool { return p.link && p.tag == uint16(id>>48) })
}

// passOn gives a responder's answer to whoever coordinates the direction.
func (c *Core) passOn(body wire.ConfirmationResponse, uid string, responder *contact) dropReason {
	reason := dropNoDirection
	for _, p := range c.order {
		if p.link && p.tag == uint16(body.DirectionID>>48) {
			b := appendBool(binary.BigEndian.AppendUint64(begin(nil, linkConfirm), body.DirectionID), body.Accept)
			c.post(p, end(append(b, c.recordOf(uid, c.locations[uid])...), 0))
			reason = dropNone
		}
	}
	return reason
}

// onConfirm takes a responder's answer that another replica has received.
func (c *Core) onConfirm(b []byte, out []Datagram) ([]Datagram, error) {
	f := fields{b: b}
	id, accept := f.u64(), f.boolean()
	r, err := parseRecord(f.b, c.now)
	if err != nil || f.bad {
		return out, errLink
	}
	d := c.byID[id]
	if d == nil || d.responder != r.uid {
		c.drop(dropNoDirection)
		return out, nil
	}
	c.known(r.uid, &r.contact)
	out, reason := c.settle(c.now, d, &r.contact, accept, out)
	if reason != dropNone {
		c.drop(reason)
	}
	return out, nil
}
