package nms

import (
	"cmp"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/services/replica"
)

// Members is what a core must know of the live replicas. Who sees the same
// revision sees the same members.
type Members struct {
	Revision int64
	Replicas []Member // of the NMS
	Relays   []Relay  // ready replicas of the TRS
}

// Member is a live replica of the NMS.
type Member struct {
	Name    string
	Host    string // that it fails with; empty: no other replica's
	Ready   bool   // it may own locations
	Leaving bool   // it gives away what it owns
}

// Relay is where devices reach one replica of the TRS.
type Relay struct {
	Name       string
	IPv4, IPv6 netip.AddrPort // the zero AddrPort if none
}

// cluster is the part of a Core that deals with other replicas. All fields are
// under the mutex of the core.
type cluster struct {
	tag        uint16 // begins the identifiers of this replica's directions
	members    Members
	relays     map[string]Relay
	relayNames []string
	peers      map[string]*peer
	order      []*peer           // the same, by name
	ring       []string          // who may own locations, by name
	before     []string          // the ring before that
	hosts      map[string]string // of those in either ring
	scratch    [candidates]string

	started time.Time // the first event
	since   time.Time // the ring is as it is
	last    time.Time // the latest event
	resumed time.Time // the process was stopped until then; zero: never
	pinged  time.Time

	wasMember bool
	removed   bool  // others have seen this replica's end
	removedAt int64 // revision
	leaving   bool
	refusing  bool

	fetches map[uint64]*fetch
	claims  map[string]*fetch // those with claim, by UID
	fetchID uint64
	scan    int  // place in row: locations up to there may have other owners now
	scanDue bool // all of them may
}

func newCluster(name string) cluster {
	return cluster{
		tag: tagOf(name), ring: []string{name}, peers: make(map[string]*peer), relays: make(map[string]Relay),
		fetches: make(map[uint64]*fetch), claims: make(map[string]*fetch), hosts: make(map[string]string),
	}
}

// tagOf is a short form of a replica's name. Two replicas may have the same.
func tagOf(name string) uint16 {
	if name == "" {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	return uint16(h.Sum32() ^ h.Sum32()>>16)
}

// peer is another replica of the NMS.
type peer struct {
	name   string
	tag    uint16
	member bool   // of the present membership
	serves bool   // it is Ready or leaves: what it sends leaves from the address of the service
	view   int64  // revision of the members that it has told that it knows
	link   bool   // messages reach it, as far as is known
	links  uint64 // how often it has come or gone
	heard  time.Time
	slow   bool // it has left a datagram without acknowledgement, and not been heard since
	alive  bool // as of the latest tick

	sent, confirmed    uint64 // datagrams that it must acknowledge, over this link
	received, answered uint64 // datagrams that this replica must acknowledge to it
	waiting            []pending
	barrier, passed    uint64 // numbers of the last barrier sent and passed
	pushed             bool   // since the last barrier

	out []byte // messages not yet taken out
}

// advance notes the time of an event. A long gap means that the process was
// stopped: others may have acted for it, and it cannot know who still lives.
func (c *Core) advance(now time.Time) {
	c.now = now
	if c.started.IsZero() {
		c.started, c.since = now, now
	}
	if len(c.peers) > 0 && !c.last.IsZero() && now.Sub(c.last) > pauseLimit {
		c.resumed = now
		c.metrics.pauses.Inc()
		for _, p := range c.order {
			p.heard = now
		}
		c.rescan()
	}
	c.last = now
}

// SetMembers takes over another membership.
func (c *Core) SetMembers(now time.Time, m Members) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	c.members = m
	c.relayNames = c.relayNames[:0]
	clear(c.relays)
	for _, r := range m.Relays {
		c.relays[r.Name] = r
		c.relayNames = append(c.relayNames, r.Name)
	}
	for _, p := range c.order {
		p.member, p.serves = false, false
	}
	present, ready := false, []string(nil)
	for _, x := range m.Replicas {
		if x.Host != "" {
			c.hosts[x.Name] = x.Host
		}
		if x.Name == c.name {
			present = true
			c.leaving = c.leaving || x.Leaving
			continue
		}
		if p := c.peer(x.Name); p != nil {
			p.member, p.serves = true, x.Ready || x.Leaving
			if x.Ready {
				ready = append(ready, x.Name)
			}
		}
	}
	switch {
	case present && m.Revision >= c.removedAt:
		c.wasMember, c.removed = true, false
	case !present && c.wasMember:
		c.removed = true
	}
	c.forgetPeers()
	c.setRing(ready)
	maps.DeleteFunc(c.hosts, func(name, _ string) bool { return !slices.Contains(c.ring, name) && !slices.Contains(c.before, name) })
	for _, p := range c.order {
		c.sendView(p)
	}
}

// peer finds or makes the state of another replica; nil beyond the bound.
func (c *Core) peer(name string) *peer {
	if p := c.peers[name]; p != nil {
		return p
	}
	if len(c.peers) >= maxPeers || name == "" || name == c.name {
		return nil
	}
	p := &peer{name: name, tag: tagOf(name)}
	c.peers[name] = p
	c.order = append(c.order, p)
	slices.SortFunc(c.order, func(a, b *peer) int { return cmp.Compare(a.name, b.name) })
	return p
}

// forgetPeers forgets those that are neither members nor linked.
func (c *Core) forgetPeers() {
	c.order = slices.DeleteFunc(c.order, func(p *peer) bool {
		gone := !p.member && !p.link
		if gone {
			delete(c.peers, p.name)
		}
		return gone
	})
}

// setRing decides who may own locations: the ready replicas, and this one unless
// it leaves, was removed or refuses, which does not count when it is alone.
func (c *Core) setRing(ready []string) {
	ring := slices.Clone(ready)
	if len(ring) == 0 || !c.leaving && !c.removed {
		ring = append(ring, c.name)
	}
	slices.Sort(ring)
	if slices.Equal(ring, c.ring) {
		return
	}
	c.before, c.ring, c.since = c.ring, ring, c.now
	c.metrics.ring.Set(float64(len(ring)))
	c.log.Info("the owners of locations have changed", "replicas", ring, "revision", c.members.Revision)
	c.rescan()
}

// refreshRing decides it anew for the same members.
func (c *Core) refreshRing() {
	var ready []string
	for _, x := range c.members.Replicas {
		if p := c.peers[x.Name]; x.Ready && p != nil && p.member {
			ready = append(ready, x.Name)
		}
	}
	c.setRing(ready)
}

// ranked lists who may own a location, the first one first. The list is good
// until the next call.
func (c *Core) ranked(uid string) []string { return c.rank(c.scratch[:0], uid, c.ring) }

// rank appends the owners that a location has in a ring to dst: by their
// rendezvous hash, but as long as there are others none on the host of an
// earlier one, so that a host does not take all copies with it.
func (c *Core) rank(dst []string, uid string, ring []string) []string {
	dst = replica.AppendRendezvous(dst, uid, ring, candidates)
	for i := 1; i < min(owners, len(dst)); i++ {
		for j := i; j < len(dst); j++ {
			if !c.sharesHost(dst[j], dst[:i]) {
				name := dst[j]
				copy(dst[i+1:j+1], dst[i:j])
				dst[i] = name
				break
			}
		}
	}
	return dst[:min(owners, len(dst))]
}

func (c *Core) sharesHost(name string, others []string) bool {
	host := c.hosts[name]
	return host != "" && slices.ContainsFunc(others, func(o string) bool { return c.hosts[o] == host })
}

// alive reports whether a replica is this one or has been heard of lately.
func (c *Core) alive(name string) bool {
	return name == c.name || c.peers[name].answers(c.now)
}

func (p *peer) answers(now time.Time) bool {
	return p != nil && p.link && now.Sub(p.heard) < peerSilence
}

// holders lists the one or two replicas that should have a location: of its
// owners those that are alive. The list is good until the next call of ranked.
func (c *Core) holders(uid string) []string {
	list := slices.DeleteFunc(c.ranked(uid), func(name string) bool { return !c.alive(name) })
	return list[:min(len(list), 2)]
}

// owner is who decides about a device now: the first of its owners that answers
// in time, or if none does the first that is alive. spare is true if it is not
// the first of all. It is empty if none is alive.
func (c *Core) owner(uid string) (name string, spare bool) {
	if name, spare := c.promptOwner(uid); name != "" {
		return name, spare
	}
	for i, name := range c.ranked(uid) {
		if c.alive(name) {
			return name, i > 0
		}
	}
	return "", false
}

func (c *Core) promptOwner(uid string) (name string, spare bool) {
	for i, name := range c.ranked(uid) {
		if name == c.name {
			return name, i > 0
		}
		if p := c.peers[name]; p.answers(c.now) && !p.slow {
			return name, i > 0
		}
	}
	return "", false
}

// heard is when another replica was last known to live.
func (c *Core) heard(name string) time.Time {
	if p := c.peers[name]; p != nil && p.heard.After(c.started) {
		return p.heard
	}
	return c.since
}

// LinkUp says that messages reach another replica and come from it from now on.
func (c *Core) LinkUp(now time.Time, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	p := c.peer(name)
	if p == nil {
		return
	}
	p.link, p.heard, p.slow = true, now, false
	p.sent, p.confirmed, p.received, p.answered, p.out = 0, 0, 0, 0, nil
	p.barrier, p.passed = 0, 0
	c.sendView(p)
	c.noteAlive(p)
}

// LinkDown says that messages no longer reach another replica. What waits for
// its acknowledgement goes elsewhere.
func (c *Core) LinkDown(now time.Time, name string, out []Datagram) []Datagram {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	p := c.peers[name]
	if p == nil || !p.link {
		return out
	}
	p.link, p.out = false, nil
	c.noteAlive(p)
	for id, f := range c.fetches {
		out = c.answered(id, f, p.name, true, out)
	}
	out = c.elsewhere(p, len(p.waiting), out)
	c.forgetPeers()
	return out
}

// noteAlive begins a scan of the locations when a replica comes or goes.
func (c *Core) noteAlive(p *peer) {
	if alive := p.answers(c.now); alive != p.alive {
		p.alive = alive
		p.links++ // it has missed something, or will
		n := 0
		for _, p := range c.order {
			if p.alive {
				n++
			}
		}
		c.metrics.peers.Set(float64(n))
		c.rescan()
	}
}

// Tick lets time pass. With peers it must be called every tickInterval.
func (c *Core) Tick(now time.Time, out []Datagram) []Datagram {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance(now)
	if len(c.peers) == 0 {
		return out
	}
	ping := now.Sub(c.pinged) >= pingInterval
	if ping {
		c.pinged = now
	}
	for _, p := range c.order {
		if ping {
			c.post(p, appendPing(nil))
		}
		c.noteAlive(p)
		late := 0
		for late < len(p.waiting) && now.Sub(p.waiting[late].at) >= hedgeAfter {
			late++
		}
		if late > 0 {
			p.slow = true
			out = c.elsewhere(p, late, out)
		}
	}
	out = c.expireFetches(out)
	c.step()
	return out
}
