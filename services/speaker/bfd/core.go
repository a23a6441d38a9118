package bfd

import "time"

// session is the state machine of RFC 5880, section 6, for one neighbour in asynchronous mode. It has no socket and no
// clock: the caller passes now, sends what it is given and comes back at deadline.
type session struct {
	// constant
	local uint32 // discriminator

	// as configured; changed by configure
	minTx, minRx time.Duration
	multiplier   uint8

	state      State
	diagnostic Diagnostic
	// of the neighbour
	remote           uint32 // discriminator, 0: not known
	remoteState      State
	remoteMinTx      time.Duration
	remoteMinRx      time.Duration // bfd.RemoteMinRxInterval; 1 microsecond until it is known
	remoteMultiplier uint8
	remoteDemand     bool

	polling  bool          // a Poll Sequence is under way: intervals changed and the neighbour has not confirmed
	usedTx   time.Duration // the transmit interval in use: a longer one waits for the end of the Poll Sequence
	usedRx   time.Duration // the receive interval in use: a shorter one waits for it
	nextSend time.Time
	expires  time.Time // detection; zero: nothing heard
	wasUp    bool      // what the last event said
}

// change is what became of a session.
type change struct {
	event  bool // it went up, or is up no longer
	answer bool // the answer to a Poll is to be sent at once
	speak  bool // the neighbour is to learn of another state at once (section 6.8.7)
}

func newSession(discriminator uint32, minTx, minRx time.Duration, multiplier uint8, now time.Time) *session {
	s := &session{local: discriminator, minTx: minTx, minRx: minRx, multiplier: multiplier, state: Down}
	s.remoteMinRx, s.nextSend = time.Microsecond, now
	s.usedTx, s.usedRx = s.desiredTx(), minRx
	return s
}

// desiredTx is at least one second unless the session is up (section 6.8.3).
func (s *session) desiredTx() time.Duration {
	if s.state != Up {
		return max(s.minTx, slowInterval)
	}
	return s.minTx
}

// configure changes the intervals of a running session by a Poll Sequence (section 6.8.3).
func (s *session) configure(minTx, minRx time.Duration, multiplier uint8, now time.Time) {
	s.multiplier = multiplier
	if minTx == s.minTx && minRx == s.minRx {
		return
	}
	s.minTx, s.minRx = minTx, minRx
	s.renegotiate()
	s.nextSend = earlier(s.nextSend, now.Add(s.interval(0)))
}

// renegotiate puts intervals in use as far as they may be at once and asks the neighbour to confirm.
func (s *session) renegotiate() {
	s.usedTx = min(s.usedTx, s.desiredTx())
	s.usedRx = max(s.usedRx, s.minRx)
	s.polling = s.remote != 0
	if s.state != Up {
		s.usedTx, s.usedRx = s.desiredTx(), s.minRx
	}
}

// receive takes a packet that was found to be for the session.
func (s *session) receive(p packet, now time.Time) change {
	s.remote, s.remoteState, s.remoteDemand = p.mine, p.state, p.demand
	s.remoteMinTx, s.remoteMinRx, s.remoteMultiplier = p.minTx, p.minRx, p.multiplier
	if p.final && s.polling {
		s.polling = false
		s.usedTx, s.usedRx = s.desiredTx(), s.minRx
	}
	before := s.state
	s.step(p.state)
	s.expires = now.Add(s.detection())
	if s.remoteMinRx > 0 { // the neighbour may want packets sooner, or we may have become up
		s.nextSend = earlier(s.nextSend, now.Add(s.interval(0)))
	}
	return change{event: s.changed(), answer: p.poll, speak: s.state != before}
}

// step is the state machine of section 6.8.6.
func (s *session) step(remote State) {
	switch {
	case s.state == AdminDown:
	case remote == AdminDown:
		if s.state != Down {
			s.become(Down, NeighborDown)
		}
	case s.state == Down && remote == Down:
		s.become(Init, s.diagnostic)
	case s.state == Down && remote == Init, s.state == Init && (remote == Init || remote == Up):
		s.become(Up, NoDiagnostic)
	case s.state == Up && remote == Down:
		s.become(Down, NeighborDown)
	}
}

func (s *session) become(state State, why Diagnostic) {
	s.state, s.diagnostic = state, why
	s.renegotiate()
}

// changed tells whether the session went up or down since the last event.
func (s *session) changed() bool {
	up := s.state == Up
	changed := up != s.wasUp
	s.wasUp = up
	return changed
}

// detection is how long silence means that the neighbour is gone (section 6.8.4), but for its bound: a neighbour may
// announce packets every 71 minutes, 255 of which may be missing.
func (s *session) detection() time.Duration {
	return min(time.Duration(s.remoteMultiplier)*max(s.usedRx, s.remoteMinTx), maxDetection)
}

// interval between two packets, with the jitter that random (0 to 1) stands for (section 6.8.7).
func (s *session) interval(random float64) time.Duration {
	base := max(s.usedTx, s.remoteMinRx)
	low, high := 0.75, 1.0
	if s.multiplier == 1 {
		high = 0.9
	}
	return time.Duration(float64(base) * (high - (high-low)*random))
}

// tick does what time asks for; send tells whether a packet is due.
func (s *session) tick(now time.Time, random float64) (c change, send bool) {
	if !s.expires.IsZero() && !now.Before(s.expires) {
		s.expires = time.Time{}
		s.remote, s.remoteDemand, s.polling = 0, false, false // section 6.8.1: nothing heard for a detection time
		s.remoteMinRx = time.Microsecond
		s.nextSend = earlier(s.nextSend, now.Add(s.interval(0))) // it may have wanted few packets, or none
		if s.state == Init || s.state == Up {
			s.become(Down, DetectionTimeExpired)
			s.nextSend = now
		}
		c.event = s.changed()
	}
	if now.Before(s.nextSend) {
		return c, false
	}
	s.nextSend = now.Add(s.interval(random))
	quiet := s.remoteMinRx == 0 || s.remoteDemand && s.state == Up && s.remoteState == Up && !s.polling
	return c, !quiet
}

// deadline is when tick is to be called next.
func (s *session) deadline() time.Time {
	if s.expires.IsZero() {
		return s.nextSend
	}
	return earlier(s.nextSend, s.expires)
}

// packet is what the session says now; final answers a Poll.
func (s *session) packet(final bool) packet {
	return packet{
		diagnostic: s.diagnostic, state: s.state, poll: s.polling && !final, final: final, multiplier: s.multiplier,
		mine: s.local, yours: s.remote, minTx: s.desiredTx(), minRx: s.minRx,
	}
}

// end makes the session say that it was switched off.
func (s *session) end() packet {
	s.state, s.diagnostic, s.polling = AdminDown, AdministrativelyDown, false
	return s.packet(false)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
