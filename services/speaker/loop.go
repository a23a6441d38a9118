package speaker

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/services/replica"
	"github.com/cyphonic/cyphonic/services/speaker/bfd"
	"github.com/cyphonic/cyphonic/services/speaker/netfilter"
)

// loop makes what is what shall be. It belongs to one goroutine.
type loop struct {
	*Speaker
	core      *core
	resources *resources
	started   time.Time
	awaited   []string  // replicas that an earlier process let traffic go to
	reminded  bool      // awaited is known
	begun     bool      // they have registered, or have had the time
	stopping  time.Time // zero: not yet
	hosts     []netip.Addr
	own       []netip.Addr
	hostsAt   time.Time
	connected time.Time // since when the desired state is followed
	lost      bool      // it was, and is not now

	// the packet filter
	applied  netfilter.State
	known    bool // something has been applied by this process
	applying bool
	failed   bool
	checked  time.Time     // when the last attempt ended
	delay    time.Duration // of the next attempt
	retryAt  time.Time

	left []string // replicas that get no traffic because of what they say of themselves

	// BGP and BFD
	peers    map[string]Peer // that the router has
	routes   map[string]map[netip.Prefix]Attributes
	errors   map[string]string // by peer: why the router did not take it
	routerAt time.Time         // try the router again
	sessions map[string]Session
	fullAt   map[string]time.Time // sessions that are shut down because of too many prefixes
	bfdPeers []bfd.Peer
	bfdDown  map[netip.Addr]time.Time // went down after they were up

	// passwords, by file name
	secrets   map[string]secret
	secretsAt time.Time

	reporter reporter
	cache    cache
}

func newLoop(s *Speaker) *loop {
	now := s.options.Now()
	l := &loop{
		Speaker: s, core: newCore(s.options.GracefulShutdown), resources: newResources(), started: now,
		peers: map[string]Peer{}, routes: map[string]map[netip.Prefix]Attributes{}, errors: map[string]string{},
		fullAt: map[string]time.Time{}, bfdDown: map[netip.Addr]time.Time{}, secrets: map[string]secret{},
		reporter: newReporter(s, now), cache: cache{path: s.options.StateFile, log: s.options.Log},
	}
	l.cache.load(l.resources)
	return l
}

// run works until everything is withdrawn after ctx has ended, or inner has ended because a part failed.
func (l *loop) run(ctx, inner context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	end := ctx.Done()
	for {
		now := l.options.Now()
		due := l.step(now)
		if !l.stopping.IsZero() && (l.silent() || now.Sub(l.stopping) > l.options.GracefulShutdown+stopLimit) {
			l.cache.save(l.resources, true)
			return
		}
		timer.Reset(max(0, due.Sub(l.options.Now())))
		select {
		case <-inner.Done():
			return
		case <-end:
			end, l.stopping = nil, l.options.Now()
			l.options.Log.Info("withdrawing everything")
		case u := <-l.updates:
			l.update(u)
		case is := <-l.links:
			l.linked(is)
		case l.awaited = <-l.recalled:
			l.reminded = true
		case <-l.registry.changed:
		case <-l.options.Router.Changed():
		case e := <-l.options.Detector.Events():
			l.detected(e)
		case r := <-l.results:
			l.finished(r)
		case <-timer.C:
		}
	}
}

// linked notes whether the desired state is followed.
func (l *loop) linked(is bool) {
	switch {
	case !is:
		l.metrics.connected.Set(0)
		l.lost = !l.connected.IsZero()
	case l.lost || l.connected.IsZero():
		l.connected, l.lost = l.options.Now(), false
		l.metrics.connected.Set(1)
	}
}

// silent tells whether nothing is announced any more.
func (l *loop) silent() bool {
	for _, routes := range l.routes {
		if len(routes) > 0 {
			return false
		}
	}
	return true
}

func (l *loop) update(u replica.Update) {
	if u.List {
		l.resources = newResources()
	}
	for _, key := range u.Deletes {
		l.resources.remove(key)
	}
	for _, item := range u.Puts {
		if err := l.resources.put(item.Key, item.Value); err != nil {
			l.metrics.left.Inc()
			l.options.Log.Error("resource left out", "error", err)
		}
	}
	l.secretsAt, l.hostsAt = time.Time{}, time.Time{}
	l.cache.dirty = true
}

// detected notes what BFD says. A session that BFD has never been up for is left alone, and one whose neighbour has
// switched BFD off, too (RFC 5882, sections 4.1 and 3.2).
func (l *loop) detected(e bfd.Event) {
	if e.Up || e.SwitchedOff {
		delete(l.bfdDown, e.Address)
		return
	}
	if _, there := l.bfdDown[e.Address]; !there {
		l.metrics.bfdDowns.Inc()
		l.bfdDown[e.Address] = l.options.Now()
		l.options.Log.Warn("BFD is down: the session is ended", "address", e.Address, "diagnostic", int(e.Diag))
	}
}

func (l *loop) finished(r result) {
	l.applying, l.checked = false, l.options.Now()
	l.metrics.applyTime.Observe(r.took.Seconds())
	if r.err != nil {
		l.metrics.applies.WithLabelValues("failed").Inc()
		l.failed = true
		l.delay = min(max(2*l.delay, applyRetryMin), applyRetryMax)
		l.retryAt = l.options.Now().Add(l.delay)
		l.options.Log.Error("packet filter not changed, trying again", "error", r.err, "delay", l.delay)
		return
	}
	l.metrics.applies.WithLabelValues("ok").Inc()
	l.applied, l.known, l.failed, l.delay = r.state, true, false, 0
}

// step plans once, begins what can be begun and says when the next step is due at the latest.
func (l *loop) step(now time.Time) time.Time {
	l.readSecrets(now)
	l.findHosts(now)
	l.sessions = l.options.Router.Sessions()
	in := l.input(now)
	p := l.core.plan(now, in)
	if !slices.Equal(p.left, l.left) && len(p.left) > 0 {
		l.options.Log.Warn("replicas get no traffic: another one has their address and port, a CloudService has their address, or there are too many", "replicas", p.left)
	}
	l.left = p.left
	due := now.Add(reportInterval)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(due) {
			due = t
		}
	}
	sooner(p.next)
	sooner(l.filter(now, in, p))
	if !in.started {
		sooner(l.started.Add(l.options.RegistrationGrace))
	}
	l.detect(p)
	sooner(l.route(now, p))
	l.registry.answer(func(g balancer.Registration) (balancer.Answer, bool) { return l.core.answer(g, in, p) }, in.backends)
	sooner(l.reporter.report(now, l, in, p))
	l.cache.save(l.resources, false)
	return due
}

func (l *loop) input(now time.Time) input {
	in := input{
		host: l.options.Host, resources: l.resources, backends: l.registry.list(), hosts: l.hosts, own: l.own,
		applied: l.applied, failed: l.failed, established: map[string]bool{}, stopping: !l.stopping.IsZero(),
		connected: l.connected, lost: l.lost,
	}
	in.started = l.begin(now, in.backends)
	for name, s := range l.sessions {
		in.established[name] = s.State == Established
	}
	return in
}

// begin tells whether the replicas that traffic goes to since before this process have registered, or have had the time.
func (l *loop) begin(now time.Time, registered []balancer.Registration) bool {
	if l.begun {
		return true
	}
	missing := slices.DeleteFunc(slices.Clone(l.awaited), func(name string) bool {
		return slices.ContainsFunc(registered, func(r balancer.Registration) bool { return r.Name == name })
	})
	switch late := now.Sub(l.started) >= l.options.RegistrationGrace; {
	case late && len(missing) > 0:
		l.options.Log.Warn("replicas of before have not registered again and get no traffic any more", "replicas", missing)
		fallthrough
	case late, l.reminded && len(missing) == 0:
		l.begun, l.awaited = true, nil
	}
	return l.begun
}

// filter begins a change of the packet filter if none is under way and one is needed: another state, one that may have
// been half made, or one that somebody else may have taken away since.
func (l *loop) filter(now time.Time, in input, p plan) (retry time.Time) {
	if !in.started || l.applying || l.known && !l.failed && now.Sub(l.checked) < filterCheck && equalStates(p.filter, l.applied) {
		return time.Time{}
	}
	if !l.known && len(p.filter.Services) == 0 && len(l.resources.raw) == 0 {
		return time.Time{} // nothing is known yet: what an earlier speaker set up stays
	}
	if l.failed && now.Before(l.retryAt) {
		return l.retryAt
	}
	l.applying = true
	l.jobs <- p.filter // of size 1, one job at a time
	return time.Time{}
}
