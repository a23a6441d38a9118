package path

import "time"

// SetRelay says that a relay is bound on this end; a zero path takes it away.
// A new relay is used only after the peer has answered through it.
func (s *Selector) SetRelay(now time.Time, relay Path) {
	if relay == s.relay {
		return
	}
	s.relay = relay
	if relay.IsZero() || s.current.IsZero() {
		return
	}
	s.moves, s.nextMove = 0, now.Add(moveInterval)
	if s.check.active || s.Dead() || s.current.Relayed() {
		s.check.strict = s.check.active
		s.probe(now, relay)
	}
}

// Replace says that the path in use is gone, not only silent: the new relay is used
// at once, whether the peer is there already or not.
func (s *Selector) Replace(now time.Time) {
	if s.relay.IsZero() || s.relay == s.current || s.current.IsZero() {
		return
	}
	s.use(now, s.relay)
	s.startCheck(now, true)
}

// tickMove asks on a new relay until the peer has bound it as well and answers there, ever more rarely. Packets stay on the
// relay before meanwhile. It says whether it does so still.
func (s *Selector) tickMove(now time.Time) bool {
	if !s.current.Relayed() || s.relay.IsZero() || s.relay == s.current {
		return false
	}
	if !now.Before(s.nextMove) {
		s.probe(now, s.relay)
		s.nextMove = now.Add(min(moveInterval<<min(s.moves, 10), moveIntervalMax))
		s.moves++
	}
	return s.moves < moveFast
}

func (s *Selector) isOldRelay(p Path) bool { return p.Relayed() && p != s.relay }

func (s *Selector) wantRelay(now time.Time) {
	s.relayUse = now
	if now.Before(s.nextRelay) {
		return
	}
	s.nextRelay = now.Add(relayRetry)
	s.out = append(s.out, Action{Op: OpRelay})
}

// RelayNeeded says whether a bound relay is worth keeping.
func (s *Selector) RelayNeeded(now time.Time) bool {
	return s.current.IsZero() || s.searching() || s.check.active || now.Sub(s.relayUse) < relayLinger
}
