package path

import (
	"net/netip"
	"slices"
	"time"
)

// Config holds what a Selector needs for its whole life.
type Config struct {
	// Controlling is true at exactly one of the two ends (the one with the
	// higher NodeID). Among working paths of equal kind it decides and the
	// other end follows, so that the two never chase each other.
	Controlling bool
	// NewID gives unpredictable probe identifiers.
	NewID func() uint64
}

// Selector watches over the paths of one session of two peers.
// It belongs to one goroutine.
type Selector struct {
	cfg Config

	current Path
	direct  []netip.AddrPort // the peer's candidates
	relay   Path             // zero while no relay is bound
	rtt     time.Duration    // of the current path, smoothed

	probes []probe
	known  []knownPath

	check      check
	checked    time.Time // when the last check began
	rxPackets  uint64    // of the peer's users, so far
	userRx     time.Time // when that was seen to grow
	unanswered time.Time // when sent packets were first found without answer
	deadSince  time.Time // zero while the current path is believed to work
	nextProbe  time.Time // of every path, while dead

	round     int // of the attempts to leave the relay
	nextRound time.Time

	moves    int       // probes that asked whether the new relay works already
	nextMove time.Time // of the next one

	nextRelay      time.Time // earliest next OpRelay
	nextRelayCheck time.Time // and OpRelayCheck
	nextRestart    time.Time
	relayUse       time.Time // when a relay was last needed

	nextTick time.Time
	out      []Action
}

type probe struct {
	id   uint64
	path Path
	sent time.Time
}

// knownPath remembers what a path has shown of itself.
type knownPath struct {
	path     Path
	answered time.Time     // last probe reply on it
	rtt      time.Duration // of that reply, 0 while unknown
	seen     time.Time     // last authenticated packet from it
	asked    time.Time     // last probe caused by seeing it
}

// check is a row of probes on the current path. A strict check is passed only
// by a reply on that very path; otherwise anything authenticated passes it.
type check struct {
	active  bool
	strict  bool
	started time.Time
	next    time.Time
	lost    int
}

// NewSelector makes a Selector without a path.
func NewSelector(cfg Config) *Selector { return &Selector{cfg: cfg} }

// Current is the path in use, zero before Established.
func (s *Selector) Current() Path { return s.current }

// RTT is the round-trip time of the current path, 0 while unknown.
func (s *Selector) RTT() time.Duration { return s.rtt }

// Dead says whether the path in use has failed and none has replaced it yet.
func (s *Selector) Dead() bool { return !s.deadSince.IsZero() }

// Direct is the peer's candidates.
func (s *Selector) Direct() []netip.AddrPort { return s.direct }

// Relay is the bound relayed path, zero if there is none.
func (s *Selector) Relay() Path { return s.relay }

// Next is when Tick must be called at the latest; zero is "no need".
func (s *Selector) Next() time.Time { return s.nextTick }

// Actions takes out what is to be done, in order.
func (s *Selector) Actions() []Action {
	out := s.out
	s.out = nil
	return out
}

// SetDirect replaces the peer's direct candidates, which have been filtered by
// Usable. New ones are probed soon if the current path is not direct.
func (s *Selector) SetDirect(now time.Time, candidates []netip.AddrPort) {
	if len(candidates) > MaxCandidates {
		candidates = candidates[:MaxCandidates]
	}
	if slices.Equal(s.direct, candidates) {
		return
	}
	s.direct = slices.Clone(candidates)
	if s.searching() {
		s.round, s.nextRound = 0, now
		s.wake(now)
	}
}

// Established says that a handshake has completed over p: a new session is in
// use and p works in both directions. A probe follows at once: it measures the
// round trip, and it is the first packet that confirms the session to the peer.
func (s *Selector) Established(now time.Time, p Path) {
	s.remember(p).answered = now
	s.use(now, p)
	s.startCheck(now, true)
	s.wake(now)
}

// Tick looks at the traffic and the clock.
func (s *Selector) Tick(now time.Time, t Traffic) {
	if s.current.IsZero() {
		s.nextTick = time.Time{}
		return
	}
	s.expireProbes(now)
	switch {
	case s.Dead():
		s.tickDead(now)
	case s.check.active:
		s.tickCheck(now, t)
	default:
		s.tickSilence(now, t)
	}
	if s.searching() && !now.Before(s.nextRound) {
		s.discover(now)
	}
	moving := s.tickMove(now)
	s.nextTick = now.Add(idleTickInterval)
	if moving || s.Dead() || s.check.active || now.Sub(latest(t.LastTx, t.LastRx)) < idleTickInterval {
		s.nextTick = now.Add(TickInterval)
	}
}

// tickSilence starts a check when packets go out and nothing comes back.
func (s *Selector) tickSilence(now time.Time, t Traffic) {
	if !t.LastTx.After(t.LastRx) || t.LastRx.After(s.unanswered) {
		s.unanswered = time.Time{}
	}
	if t.LastTx.After(t.LastRx) && s.unanswered.IsZero() {
		s.unanswered = now
	}
	silent := !s.unanswered.IsZero() && now.Sub(s.unanswered) >= silenceBeforeCheck
	if t.RxPackets != s.rxPackets {
		s.rxPackets, s.userRx = t.RxPackets, now
	}
	paused := s.userRx.After(s.checked) && now.Sub(s.userRx) >= pauseBeforeCheck
	idle := now.Sub(latest(t.LastTx, s.checked)) >= idleCheck || now.Sub(t.LastRx) >= idleCheck
	if silent || paused || idle {
		s.startCheck(now, false)
	}
	if silent && s.current.Relayed() && now.Sub(s.userRx) < freshness && !now.Before(s.nextRelayCheck) {
		s.nextRelayCheck = now.Add(relayRetry)
		s.out = append(s.out, Action{Op: OpRelayCheck})
	}
}

func (s *Selector) startCheck(now time.Time, strict bool) {
	if s.check.active {
		s.check.strict = s.check.strict || strict
		return
	}
	s.checked = now
	s.check = check{active: true, strict: strict, started: now, next: now.Add(checkInterval)}
	s.probe(now, s.current)
	s.wake(now.Add(TickInterval))
}

func (s *Selector) tickCheck(now time.Time, t Traffic) {
	if !s.check.strict && t.LastRx.After(s.check.started) {
		s.passCheck()
		return
	}
	if now.Before(s.check.next) {
		return
	}
	s.check.lost++
	s.check.next = now.Add(checkInterval)
	if k := s.alternative(now); k != nil && !k.path.Relayed() && now.Sub(k.seen) < freshness {
		s.use(now, k.path) // the peer has moved: it is heard from there and answers there
		return
	}
	if s.check.lost >= checkLosses {
		s.fail(now)
		return
	}
	s.probe(now, s.current)
	s.wantRelay(now)
	if !s.relay.IsZero() && s.relay != s.current {
		s.check.strict = true // the relay's answer says nothing about the current path
		s.probe(now, s.relay)
	}
}

func (s *Selector) passCheck() {
	s.check = check{}
	s.unanswered = time.Time{}
}

// fail gives up the current path for one that answered a moment ago, direct
// before relayed, or else starts asking everywhere.
func (s *Selector) fail(now time.Time) {
	if k := s.alternative(now); k != nil {
		s.use(now, k.path)
		return
	}
	s.check = check{}
	s.deadSince = now
	s.nextProbe = now
	s.nextRestart = now.Add(RestartAfter)
	s.round, s.nextRound = 0, now
	s.tickDead(now)
}

// alternative is a path other than the current one that has answered a moment
// ago, direct before relayed; nil if there is none.
func (s *Selector) alternative(now time.Time) *knownPath {
	var best *knownPath
	for i := range s.known {
		k := &s.known[i]
		if k.path == s.current || now.Sub(k.answered) > freshness || s.isOldRelay(k.path) {
			continue
		}
		if best == nil || best.path.Relayed() && !k.path.Relayed() {
			best = k
		}
	}
	return best
}

// tickDead asks on every path that could work.
func (s *Selector) tickDead(now time.Time) {
	s.relayUse = now
	if !now.Before(s.nextProbe) {
		s.nextProbe = now.Add(checkInterval)
		s.probe(now, s.current)
		if !s.relay.IsZero() && s.relay != s.current {
			s.probe(now, s.relay)
		}
	}
	s.wantRelay(now)
	if !now.Before(s.nextRestart) {
		s.nextRestart = now.Add(restartRetry)
		s.out = append(s.out, Action{Op: OpRestart})
	}
}

// searching says whether a direct path is looked for.
func (s *Selector) searching() bool {
	return !s.current.IsZero() && (s.current.Relayed() || s.Dead())
}

// discover is one attempt to find a direct path: the peer is told where this
// end is and every candidate of the peer is probed; the peer does the same.
func (s *Selector) discover(now time.Time) {
	s.out = append(s.out, Action{Op: OpAnnounce, Path: s.current})
	s.probeDirect(now)
	s.round++
	s.nextRound = now.Add(discoveryInterval(s.round))
}

func discoveryInterval(round int) time.Duration {
	interval := discoveryFast
	for i := discoveryFastRounds; i < round && interval < discoverySlow; i++ {
		interval = interval * 3 / 2
	}
	return min(interval, discoverySlow)
}

func (s *Selector) probeDirect(now time.Time) {
	for _, a := range s.direct {
		if p := (Path{Addr: a}); p != s.current {
			s.probe(now, p)
		}
	}
}

// Announced says that the peer has sent its candidates in the session: it is
// probing now, so this end probes as well and the two open both NATs.
func (s *Selector) Announced(now time.Time, candidates []netip.AddrPort) {
	s.SetDirect(now, candidates)
	if s.searching() {
		s.probeDirect(now)
	}
}

// Seen says that an authenticated packet has come from p. A path other than
// the current one is only asked, never followed, before it has answered.
func (s *Selector) Seen(now time.Time, p Path) {
	if s.current.IsZero() || p == s.current {
		return
	}
	k := s.remember(p)
	k.seen = now
	if now.Sub(k.asked) < seenInterval || s.isOldRelay(p) { // nothing leads back to that
		return
	}
	k.asked = now
	s.probe(now, p)
	if !s.Dead() {
		s.startCheck(now, true)
	}
}

// Replied takes a probe reply that has come from p. It reports false for a
// reply nobody waits for, and for one that came another way than it was asked.
func (s *Selector) Replied(now time.Time, p Path, id uint64) bool {
	i := slices.IndexFunc(s.probes, func(q probe) bool { return q.id == id && q.path == p })
	if i < 0 || now.Sub(s.probes[i].sent) > probeLifetime {
		return false
	}
	sample := now.Sub(s.probes[i].sent)
	s.probes = slices.Delete(s.probes, i, i+1)
	k := s.remember(p)
	k.answered, k.rtt = now, sample
	if p == s.current {
		s.currentReplied(sample)
		return true
	}
	switch {
	case s.better(now, k):
		s.use(now, p)
	case s.check.active && !p.Relayed():
		// The current path was asked no later; it has had its time soon.
		s.check.next = earlier(s.check.next, now.Add(sample+replyMargin))
		s.wake(s.check.next)
	}
	return true
}

func (s *Selector) currentReplied(sample time.Duration) {
	if s.rtt == 0 {
		s.rtt = sample
	} else {
		s.rtt += (sample - s.rtt) / 8
	}
	s.deadSince = time.Time{}
	s.passCheck()
}

// better says whether k, which has just answered, replaces the current path.
func (s *Selector) better(now time.Time, k *knownPath) bool {
	p := k.path
	followed := !s.cfg.Controlling && now.Sub(k.seen) < freshness
	switch {
	case s.isOldRelay(p):
		return false
	case s.Dead():
		return true
	case s.current.Relayed() && !p.Relayed():
		return true
	case !s.current.Relayed() && p.Relayed():
		return false // only fail changes to the relay
	case p.Relayed():
		return true // the newest relay
	}
	return followed || s.check.active && s.check.lost > 0
}

// AddressChanged says that this host's real addresses have changed: nothing
// known about the paths holds any more.
func (s *Selector) AddressChanged(now time.Time) {
	s.known = nil
	if s.current.IsZero() {
		return
	}
	s.startCheck(now, true)
	s.check.lost = max(s.check.lost, 1) // doubt it: one probe less until it is given up
	s.out = append(s.out, Action{Op: OpAnnounce, Path: s.current})
	s.probeDirect(now)
	s.nextRelay = time.Time{}
	s.wantRelay(now)
	s.round, s.nextRound = 0, now
	s.wake(now)
}

// Doubt says that something is wrong with the path in use, so that it is checked at once.
func (s *Selector) Doubt(now time.Time) {
	if !s.current.IsZero() && !s.Dead() {
		s.startCheck(now, true)
	}
}

// Failing says whether probes on the path in use stay without answer.
func (s *Selector) Failing() bool { return s.Dead() || s.check.active && s.check.lost > 0 }

// use changes the current path.
func (s *Selector) use(now time.Time, p Path) {
	if p.Relayed() || s.current.Relayed() {
		s.relayUse = now
	}
	if p != s.current {
		s.rtt = s.remember(p).rtt
		s.current = p
		s.out = append(s.out, Action{Op: OpUse, Path: p})
		if p.Relayed() {
			s.round, s.nextRound = 0, now.Add(discoveryFast/4)
		}
	}
	s.deadSince = time.Time{}
	s.passCheck()
	s.wake(now.Add(TickInterval))
}

func (s *Selector) probe(now time.Time, p Path) {
	if len(s.probes) == maxProbes {
		s.probes = slices.Delete(s.probes, 0, 1)
	}
	id := s.cfg.NewID()
	s.probes = append(s.probes, probe{id: id, path: p, sent: now})
	s.out = append(s.out, Action{Op: OpProbe, Path: p, ID: id})
}

func (s *Selector) expireProbes(now time.Time) {
	s.probes = slices.DeleteFunc(s.probes, func(p probe) bool { return now.Sub(p.sent) > probeLifetime })
}

// remember gives the record of p, in place of the oldest if there are many.
func (s *Selector) remember(p Path) *knownPath {
	for i := range s.known {
		if s.known[i].path == p {
			return &s.known[i]
		}
	}
	if len(s.known) < maxKnown {
		s.known = append(s.known, knownPath{path: p})
		return &s.known[len(s.known)-1]
	}
	oldest := 0
	for i := range s.known {
		if latest(s.known[i].answered, s.known[i].seen).Before(latest(s.known[oldest].answered, s.known[oldest].seen)) {
			oldest = i
		}
	}
	s.known[oldest] = knownPath{path: p}
	return &s.known[oldest]
}

func (s *Selector) wake(at time.Time) {
	if s.nextTick.IsZero() || at.Before(s.nextTick) {
		s.nextTick = at
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
