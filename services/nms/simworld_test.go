package nms

import (
	"container/heap"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/signaling"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// simulation runs cores of several replicas and clients of devices in virtual time, with a network that delays and
// loses, a membership that reaches each replica at another time, and an attacker that repeats what it has seen.
type simulation struct {
	*world
	random   *mathrand.Rand
	events   events
	order    uint64
	replicas map[string]*simReplica
	names    []string // that have ever been, in order of joining
	devices  []*simDevice
	bySource map[netip.AddrPort]*simDevice
	links    map[[2]string]*simLink
	revision int64
	loss     float64
	perHost  int // replicas on each host; 0: each is on a host of its own
	seen     map[seenDatagram]time.Time
	asked    map[*simRequest]bool
	routed   int
	attacks  int
	twice    int           // hedged duplicates
	slow     []*simRequest // met, but not at the first try
	took     map[*simRequest]time.Duration
}

// simReplica is one replica with what its surroundings know of it.
type simReplica struct {
	name    string
	core    *Core
	state   string // Ready, Leaving; empty: not in etcd
	dead    bool
	cut     bool // from everybody, without a word
	alone   bool // from etcd
	balance bool // devices' datagrams are sent here
	paused  bool
	late    []func() // what has come while it was paused
}

// simLink is the link between two replicas, as the one end sees it.
type simLink struct {
	up      bool
	arrives time.Time // the last message, so that they stay in order
	life    int
}

type seenDatagram struct {
	uid     string
	login   [32]byte
	counter uint64
}

type simDevice struct {
	*device
	client *signaling.Client
	online bool
	wake   uint64 // of the latest timer
}

type simRequest struct {
	from, to *simDevice
	at       time.Time
	id       uint64
	atPeer   bool
	done     bool
}

type event struct {
	at    time.Time
	order uint64
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

func newSimulation(t testing.TB, seed uint64, replicas, devices int) *simulation {
	t.Helper()
	return newHosts(t, seed, 0, replicas, devices)
}

// newHosts has perHost replicas on each host.
func newHosts(t testing.TB, seed uint64, perHost, replicas, devices int) *simulation {
	t.Helper()
	s := &simulation{
		world: newWorld(t), random: mathrand.New(mathrand.NewPCG(seed, 1)), replicas: make(map[string]*simReplica),
		bySource: make(map[netip.AddrPort]*simDevice), links: make(map[[2]string]*simLink), revision: 100,
		seen: make(map[seenDatagram]time.Time), asked: make(map[*simRequest]bool), loss: 0.02, perHost: perHost,
		took: make(map[*simRequest]time.Duration),
	}
	s.contents.Policies[0].Spec.From = s.contents.Policies[0].Spec.To // everybody may talk to everybody
	for i := range devices {
		s.addDevice(i)
	}
	for range replicas {
		s.join()
	}
	s.run(3 * time.Second)
	for _, d := range s.devices {
		s.startDevice(d)
	}
	s.run(3 * time.Second)
	return s
}

func (s *simulation) host(name string) string {
	var n int
	if _, err := fmt.Sscanf(name, "nms-%d", &n); err != nil || s.perHost == 0 {
		return ""
	}
	return fmt.Sprint("h", n/s.perHost)
}

func (s *simulation) after(d time.Duration, do func()) {
	s.order++
	heap.Push(&s.events, event{s.now.Add(d), s.order, do})
}

func (s *simulation) run(d time.Duration) {
	until := s.now.Add(d)
	for len(s.events) > 0 && !s.events[0].at.After(until) {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.do()
	}
	s.now = until
}

func (s *simulation) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.random.Int64N(int64(high-low)))
}

func (s *simulation) newReplica(name string) *simReplica {
	core, err := NewCore(CoreOptions{
		Name: name, Snapshot: func() *replica.Snapshot { return s.snapshot }, Rand: rand.Reader,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	r := &simReplica{name: name, core: core}
	core.admitted = s.admitted
	s.replicas[name] = r
	s.names = append(s.names, name)
	return r
}

// admitted holds the rule that no datagram takes effect twice, except at once at two owners.
func (s *simulation) admitted(r *request) {
	key := seenDatagram{r.subject.UID, r.ticket.SessionKey, r.counter}
	first, again := s.seen[key]
	if !again {
		s.seen[key] = s.now
		return
	}
	s.twice++
	if s.now.Sub(first) > 400*time.Millisecond {
		s.t.Errorf("a datagram of %s takes effect again after %v", r.subject.Name, s.now.Sub(first))
	}
}

// at lets a replica do something now, or when it runs again.
func (s *simulation) at(r *simReplica, do func()) {
	switch {
	case r.dead:
	case r.paused:
		r.late = append(r.late, do)
	default:
		do()
		s.flush(r)
	}
}

// flush carries away what a core has for other replicas.
func (s *simulation) flush(r *simReplica) {
	for _, m := range r.core.Messages(nil) {
		for rest := m.Data; len(rest) > 0; {
			message, left, err := NextLinkMessage(rest)
			if err != nil || message == nil {
				s.t.Fatalf("a core sends what is no message: %v", err)
			}
			rest = left
			s.carry(r, m.To, message)
		}
	}
}

func (s *simulation) carry(from *simReplica, name string, message []byte) {
	to, l := s.replicas[name], s.links[[2]string{from.name, name}]
	if l == nil || !l.up {
		return
	}
	arrives := s.now.Add(s.between(100*time.Microsecond, 2*time.Millisecond))
	if !arrives.After(l.arrives) {
		arrives = l.arrives.Add(time.Microsecond)
	}
	l.arrives = arrives
	life := l.life
	s.after(arrives.Sub(s.now), func() {
		if from.cut || to.cut || l.life != life || !l.up {
			return
		}
		s.at(to, func() { s.out(to, to.core.HandleMessage(s.now, from.name, message, nil)) })
	})
}

// out sends datagrams from a replica to devices.
func (s *simulation) out(r *simReplica, list []Datagram) {
	for _, d := range list {
		if r.cut || s.random.Float64() < s.loss {
			continue
		}
		s.after(s.between(2*time.Millisecond, 20*time.Millisecond), func() {
			x := s.bySource[d.To]
			if x == nil || !x.online {
				return
			}
			_ = x.client.Receive(s.now, d.Data)
			s.serve(x)
		})
	}
}

func (s *simulation) tick(r *simReplica) {
	if r.dead {
		return
	}
	if !r.paused { // ticks do not pile up
		s.at(r, func() { s.out(r, r.core.Tick(s.now, nil)) })
	}
	s.after(tickInterval, func() { s.tick(r) })
}

func (s *simulation) second(r *simReplica) {
	if r.dead {
		return
	}
	if !r.paused {
		s.at(r, func() { r.core.Expire(s.now); s.out(r, r.core.PolicyChanged(s.now, nil)) })
	}
	s.after(time.Second, func() { s.second(r) })
}

// announce tells all replicas the present members, each at another time.
func (s *simulation) announce(most time.Duration) {
	s.revision++
	m := Members{Revision: s.revision}
	for _, name := range s.names {
		if r := s.replicas[name]; r.state != "" {
			m.Replicas = append(m.Replicas, Member{Name: name, Host: s.host(name), Ready: r.state == "Ready", Leaving: r.state == "Leaving"})
		}
	}
	for _, name := range s.names {
		r := s.replicas[name]
		if r.dead || r.cut || r.alone {
			continue
		}
		s.after(s.between(time.Millisecond, most), func() {
			s.at(r, func() {
				if m.Revision > r.core.members.Revision {
					r.core.SetMembers(s.now, m)
				}
			})
		})
	}
}

// connect makes the links of a replica with all others.
func (s *simulation) connect(r *simReplica) {
	for _, name := range s.names {
		o := s.replicas[name]
		if o == r || o.dead || o.cut {
			continue
		}
		for _, pair := range [][2]*simReplica{{r, o}, {o, r}} {
			key := [2]string{pair[0].name, pair[1].name}
			l := s.links[key]
			if l == nil {
				l = &simLink{}
				s.links[key] = l
			}
			if l.up {
				continue
			}
			l.up = true
			l.life++
		}
		s.at(r, func() { r.core.LinkUp(s.now, o.name) })
		s.at(o, func() { o.core.LinkUp(s.now, r.name) })
	}
}

// disconnect ends the links of a replica; the others notice after a while.
func (s *simulation) disconnect(r *simReplica, notice time.Duration) {
	for _, name := range s.names {
		o := s.replicas[name]
		there, back := s.links[[2]string{o.name, r.name}], s.links[[2]string{r.name, o.name}]
		if o == r || there == nil || !there.up {
			continue
		}
		s.after(notice, func() {
			if !there.up {
				return
			}
			there.up, back.up = false, false
			s.at(o, func() { s.out(o, o.core.LinkDown(s.now, r.name, nil)) })
			s.at(r, func() { s.out(r, r.core.LinkDown(s.now, o.name, nil)) })
		})
	}
}

// alive lists the replicas that serve.
func (s *simulation) alive() []*simReplica {
	var list []*simReplica
	for _, name := range s.names {
		if r := s.replicas[name]; !r.dead && !r.cut && !r.paused && r.state == "Ready" {
			list = append(list, r)
		}
	}
	return list
}

func (s *simulation) addDevice(i int) {
	d := &simDevice{device: s.node(fmt.Sprintf("d%d", i), byte(i+2), fmt.Sprintf("198.51.100.%d:4000", i+1))}
	d.subject.Labels = map[string]string{"all": "yes"}
	s.devices = append(s.devices, d)
	s.bySource[d.src] = d
}

func (s *simulation) startDevice(d *simDevice) {
	d.online = true
	d.client = signaling.New(signaling.Config{Tag: d.tag, Random: s.random.Uint64}, signaling.Credentials{
		Ticket: d.sealed, SessionKey: d.ticket.SessionKey, Certificate: d.certificate,
		Servers: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:7442")}, ServerTime: s.now,
	}, d.candidates)
	s.serve(d)
}

// serve does what a device has to do now and sets its timer.
func (s *simulation) serve(d *simDevice) {
	d.client.Tick(s.now)
	for _, e := range d.client.Events() {
		switch e := e.(type) {
		case signaling.Confirm:
			d.client.Answer(e.DirectionID, true, d.candidates)
			s.toldPeer(d, e.Direction.PeerTag)
		case signaling.Routed:
			s.onRouted(d, e)
		}
	}
	for _, o := range d.client.Outbox() {
		s.fromDevice(d, o.Payload)
	}
	d.wake++
	wake, next := d.wake, d.client.Next()
	if next.IsZero() {
		return
	}
	s.after(max(next.Sub(s.now), time.Microsecond), func() {
		if d.wake == wake && d.online {
			s.serve(d)
		}
	})
}

// fromDevice sends a datagram to the replica that the balancer has for the source, and gives the attacker a copy.
func (s *simulation) fromDevice(d *simDevice, b []byte) {
	src := d.src
	if s.random.Float64() >= s.loss {
		s.after(s.between(2*time.Millisecond, 20*time.Millisecond), func() { s.arrive(src, b) })
	}
	if s.random.IntN(3) == 0 {
		s.attacks++
		s.after(s.between(500*time.Millisecond, 30*time.Second), func() {
			if s.random.IntN(4) == 0 {
				src = netip.AddrPortFrom(src.Addr(), src.Port()+1)
			}
			s.arrive(src, b)
		})
	}
}

func (s *simulation) arrive(src netip.AddrPort, b []byte) {
	var names []string
	for _, name := range s.names {
		if s.replicas[name].balance {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return
	}
	r := s.replicas[replica.Rendezvous(src.String(), names, 1)[0]]
	if r.cut {
		return
	}
	s.at(r, func() {
		s.out(r, r.core.HandleDatagram(s.now, src, b, nil))
	})
}

// request asks for a direction between two devices.
func (s *simulation) request(from, to *simDevice) {
	id, err := from.client.Request(s.now, wire.Target{FQDN: to.subject.FQDN}, false)
	if err != nil {
		return
	}
	s.asked[&simRequest{from: from, to: to, at: s.now, id: id}] = true
	s.serve(from)
}

func (s *simulation) onRouted(d *simDevice, e signaling.Routed) {
	for r := range s.asked {
		if r.from == d && r.id == e.RequestID {
			r.done = true
			if !r.atPeer {
				s.t.Errorf("%s is routed to %s, which knows nothing of it", r.from.subject.Name, r.to.subject.Name)
			}
			delete(s.asked, r)
			s.routed++
			if took := s.now.Sub(r.at); took > prompt {
				s.slow = append(s.slow, r)
				s.took[r] = took
			}
		}
	}
}

// toldPeer notes that a responder has been asked and may be called.
func (s *simulation) toldPeer(d *simDevice, initiator uint32) {
	for r := range s.asked {
		if r.to == d && r.from.tag == initiator {
			r.atPeer = true
		}
	}
}

// overdue lists the requests that were not met while the device repeated them.
func (s *simulation) overdue() []string {
	var list []string
	for r := range s.asked {
		if s.now.Sub(r.at) > signaling.RequestLifetime {
			list = append(list, fmt.Sprintf("%s to %s at %v, initiator %v, responder %v",
				r.from.subject.Name, r.to.subject.Name, r.at.Format("05.000"), r.done, r.atPeer))
		}
	}
	slices.Sort(list)
	return list
}
