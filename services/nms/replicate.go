package nms

import (
	"cmp"
	"slices"
	"time"
)

// take notes at a location that a request of its device has been admitted here.
// changed says that copies must be made anew.
func (c *Core) take(r *request, l *location, state *login) (changed bool) {
	l.latest = seen{state.name, r.counter}
	if r.stamp().after(l.stamp) {
		l.stamp = r.stamp()
		if l.addr == r.src {
			l.gateway = r.gateway
		}
	}
	if !r.prove.IsZero() {
		// Others may have taken older datagrams that this replica has not heard of.
		for _, s := range l.logins {
			s.window.shut(r.counter)
		}
		l.doubt, changed = time.Time{}, true
	}
	switch {
	case l.acting != c.name && !r.deputy:
		l.acting, l.sure, changed = c.name, c.now, true
		l.epoch++
	case l.acting == c.name && !r.prove.IsZero():
		l.sure = c.now
	}
	l.lapsed = l.lapsed && l.acting != c.name
	return changed
}

// replicate tells the other replicas that should know it what has happened to a
// location: all of it, or only which datagram has come.
func (c *Core) replicate(uid string, l *location, full bool) {
	if l == nil || len(c.peers) == 0 {
		return
	}
	if full {
		l.copies = nil
	}
	c.copyTo(uid, l, true)
}

// copyTo sends a location to its holders, and gives it to the first of them if
// that is another one than acts. Those who have it are told of the latest
// datagram if marks is true.
func (c *Core) copyTo(uid string, l *location, marks bool) {
	list := c.holders(uid)
	given := ""
	if l.acting == c.name && len(list) > 0 && list[0] != c.name {
		given = list[0]
		l.acting, l.copies = given, nil
		l.epoch++
		c.metrics.given.Inc()
	}
	if l.acting != c.name && !slices.Contains(list, l.acting) && c.alive(l.acting) {
		list = append(list, l.acting)
	}
	// Who was none of them for a while has missed something.
	l.copies = slices.DeleteFunc(l.copies, func(h holder) bool { return !slices.Contains(list, h.name) })
	for _, name := range list {
		p := c.peers[name]
		if p == nil || !p.link {
			continue
		}
		switch {
		case !slices.Contains(l.copies, holder{name, p.links}):
			l.copies = append(l.copies, holder{name, p.links})
			b := appendBool(begin(nil, linkLocation), name == given && l.doubt.IsZero() && c.certain(l))
			c.post(p, end(append(b, c.recordOf(uid, l)...), 0))
			p.pushed = true
		case marks:
			c.post(p, appendMark(nil, c.now, mark{
				uid: uid, gateway: l.gateway, login: l.latest.login, counter: l.latest.counter,
				echo: l.echo, policy: l.policy, lastSeen: l.lastSeen,
			}))
		}
	}
}

// rescan makes the next steps look at all locations.
func (c *Core) rescan() { c.scanDue = true }

// step looks at the next locations that may have other owners now, if the peers
// have taken what the last step sent.
func (c *Core) step() {
	for _, p := range c.order {
		if p.answers(c.now) && p.barrier > p.passed {
			return
		}
	}
	if c.scanDue {
		c.scanDue, c.scan = false, len(c.row)
	}
	c.each(&c.scan, pushBatch, func(l *location) bool {
		if c.inherit(l.uid, l) {
			c.copyTo(l.uid, l, false)
		} else if !slices.Contains(c.holders(l.uid), c.name) {
			l.lapsed = true
		}
		return true
	})
	for _, p := range c.order {
		if p.pushed && p.link {
			p.pushed = false
			p.barrier++
			c.post(p, appendNumber(nil, linkBarrier, p.barrier))
		}
	}
}

// inherit reports whether this replica has to care for a location: it acts, or
// it is an owner and who acted is gone. Then the first owner acts, but does not
// know what that one has seen last.
func (c *Core) inherit(uid string, l *location) bool {
	if l.acting == c.name {
		return true
	}
	if c.alive(l.acting) || !slices.Contains(c.ranked(uid), c.name) {
		return false
	}
	if c.holders(uid)[0] == c.name {
		l.doubt = c.heard(l.acting)
		// A later owner may have acted meanwhile: the first datagram asks.
		l.acting, l.sure, l.copies, c.arrivals = c.name, time.Time{}, nil, true
		l.epoch++
	}
	return true
}

// onLocation takes a location that another replica has sent. If this one knows
// more, it says so.
func (c *Core) onLocation(p *peer, b []byte, out []Datagram) ([]Datagram, error) {
	f := fields{b: b}
	given := f.boolean()
	r, err := parseRecord(f.b, c.now)
	if err != nil || f.bad {
		return out, errLink
	}
	ahead, l := c.merge(r, given), c.locations[r.uid]
	if l != nil {
		// Who sends it keeps it up to date from now on, but for one who has not heard yet that others hold it.
		l.lapsed = p.view < c.members.Revision && l.acting != c.name && !slices.Contains(c.holders(r.uid), c.name)
	}
	if ahead {
		answer := append(appendBool(begin(nil, linkLocation), false), c.recordOf(r.uid, l)...)
		c.post(p, end(answer, 0))
	}
	return c.given(r.uid, out), nil
}

// merge takes over what is later in a record: the contact by what the device has
// sent, who acts by the epoch. What either side has seen counts as seen. ahead
// says that this replica knows something later. given says that who sent the
// record has acted until then, so that nothing is missing in it.
func (c *Core) merge(r record, given bool) (ahead bool) {
	l := c.locations[r.uid]
	if l == nil {
		if len(c.locations) >= maxLocations {
			c.drop(dropTableFull)
			return false
		}
		l = newLocation()
		c.known(r.uid, &r.contact)
		l.contact = r.contact
		c.enter(r.uid, l)
	}
	ahead = l.newer(&r.contact) || l.stamp.after(r.contact.stamp)
	if r.contact.newer(&l.contact) {
		c.known(r.uid, &r.contact)
		if l.stamp.after(r.contact.stamp) && l.addr == r.contact.addr {
			r.contact.stamp, r.contact.gateway = l.stamp, l.gateway
		}
		l.contact, l.copies = r.contact, nil
	}
	l.logins = mergeLogins(l.logins, r.logins)
	switch n := cmp.Or(cmp.Compare(l.epoch, r.epoch), cmp.Compare(l.acting, r.acting)); {
	case n > 0:
		return true
	case n < 0:
		l.acting, l.epoch, l.copies = r.acting, r.epoch, nil
		if l.acting == c.name {
			l.sure, l.doubt, l.lapsed = c.now, time.Time{}, false
			if !given {
				l.doubt = c.started // of an earlier life of this replica
			}
			c.arrivals = true
		}
	case given && l.acting == c.name:
		l.sure, l.doubt = c.now, time.Time{} // a third replica was faster in telling so
	}
	return ahead
}

// mergeLogins keeps the newest logins of both, the newest last.
func mergeLogins(a, b []*login) []*login {
	for _, x := range b {
		i := slices.IndexFunc(a, func(y *login) bool { return y.sessionKey == x.sessionKey })
		if i >= 0 {
			a[i].window.merge(x.window)
			continue
		}
		at := len(a)
		for at > 0 && x.notAfter.Before(a[at-1].notAfter) {
			at--
		}
		a = slices.Insert(a, at, x)
	}
	return a[max(0, len(a)-maxLogins):]
}

// onMark notes a datagram that another replica has taken.
func (c *Core) onMark(p *peer, b []byte) error {
	m, err := parseMark(b, c.now)
	if err != nil {
		return err
	}
	l := c.locations[m.uid]
	var state *login
	if l != nil {
		if i := slices.IndexFunc(l.logins, func(s *login) bool { return s.name == m.login }); i >= 0 {
			state = l.logins[i]
		}
	}
	if state == nil {
		c.post(p, appendFetch(c.nextFetch(fetchCopy), false, m.uid))
		return nil
	}
	if state.window.fresh(m.counter) {
		state.window.mark(m.counter)
	}
	if at := (stamp{state.notAfter.Unix(), m.counter}); at.after(l.stamp) {
		if m.echo != l.echo {
			l.made = at
		}
		l.stamp, l.echo, l.policy, l.lastSeen, l.gateway = at, m.echo, m.policy, m.lastSeen, m.gateway
		l.latest = seen{m.login, m.counter}
	}
	return nil
}
