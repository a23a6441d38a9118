package signaling

import (
	"net/netip"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// registration is the state of the location at the NMS.
type registration struct {
	echo       uint64         // of the registration under way or last acknowledged
	recent     [echoes]uint64 // the latest echoes, newest first, 0 = none
	waiting    bool           // for an acknowledgement
	tries      int            // unanswered datagrams of the registration under way
	silent     int            // registrations sent since the last acknowledgement
	report     int            // the number of them at which Unanswered is due again
	challenges int            // answered since the last tick that sent, or the last acknowledgement
	next       time.Time      // when to send; zero = at once

	registered bool
	forgotten  bool // challenged since the last acknowledgement
	expires    time.Time
	observed   netip.AddrPort
	nated      bool
	policy     uint64 // version last heard of, 0 = none
}

// Register begins a new registration at once: after a change of address, of
// candidates or of credentials, or when the NMS seems to have lost the location.
func (c *Client) Register(now time.Time) {
	c.reg.waiting = false
	c.reg.next = now
}

// RegisterBy begins a new registration at the given time, unless one is due or under way before it.
func (c *Client) RegisterBy(at time.Time) {
	if c.reg.registered && !c.reg.waiting && at.Before(c.reg.next) {
		c.Register(at)
	}
}

func (c *Client) tickRegistration(now time.Time) {
	r := &c.reg
	if r.registered && !now.Before(r.expires) {
		r.registered = false
		c.events = append(c.events, Unregistered{})
	}
	if now.Before(r.next) {
		return
	}
	if !r.waiting {
		c.beginRegistration()
	} else if r.tries%serverTries == 0 && len(c.cred.Servers) > 1 {
		c.server = (c.server + 1) % len(c.cred.Servers)
		c.cookie = [16]byte{}
	}
	r.challenges = 0
	r.next = now.Add(c.jitter(backoff(registrationRetry, r.tries, registrationRetryMax)))
	r.tries++
	if r.silent++; r.silent == max(r.report, unansweredTries) {
		r.report = r.silent * unansweredFactor
		c.events = append(c.events, Unanswered{})
	}
	c.sendRegistration()
}

func (c *Client) beginRegistration() {
	r := &c.reg
	r.waiting, r.tries = true, 0
	r.echo = c.cfg.Random() | 1 // never 0
	copy(r.recent[1:], r.recent[:])
	r.recent[0] = r.echo
}

func (c *Client) sendRegistration() {
	c.send(wire.Registration{
		Echo:        c.reg.echo,
		Candidates:  c.candidates,
		Certificate: c.cred.Certificate,
	})
}

// onAck takes the answer to the registration under way, or what the NMS adds to a recent one: another policy version.
func (c *Client) onAck(now time.Time, m wire.RegistrationAck) error {
	r := &c.reg
	if m.Echo != r.echo || !r.waiting {
		switch {
		case !c.recentEcho(m.Echo):
			return ErrUnasked
		case !r.registered || !c.takePolicy(m.Policy):
			return ErrDuplicate
		}
		return nil
	}
	news := !r.registered || r.observed != m.Observed || r.nated != m.NATed
	r.waiting, r.registered, r.forgotten, r.tries = false, true, false, 0
	r.silent, r.report, r.challenges = 0, 0, 0
	r.observed, r.nated = m.Observed, m.NATed
	r.expires = now.Add(max(time.Duration(m.TTL)*time.Second, lifetimeMin))
	keepalive := min(max(time.Duration(m.Keepalive)*time.Second, keepaliveMin), keepaliveMax)
	r.next = now.Add(c.jitter(keepalive))
	if news {
		c.events = append(c.events, Registered{Observed: m.Observed, NATed: m.NATed})
		c.releaseRequests(now)
	}
	c.takePolicy(m.Policy)
	return nil
}

// takePolicy notes the policy version and says whether it has changed.
func (c *Client) takePolicy(version uint64) (changed bool) {
	if version == 0 || version == c.reg.policy {
		return false
	}
	if changed = c.reg.policy != 0; changed {
		c.events = append(c.events, PolicyChanged{})
	}
	c.reg.policy = version
	return changed
}

// onChallenge repeats what was challenged with the cookie. Because only an
// unknown source is challenged, the location is registered again as well.
func (c *Client) onChallenge(now time.Time, m wire.Challenge) error {
	r := &c.reg
	request := c.requests[m.Echo]
	direction := c.directions[m.Echo]
	challenged := r.waiting && m.Echo == r.echo
	if !challenged && request == nil && (direction == nil || !direction.answered) {
		if slices.Contains(r.recent[:], m.Echo) {
			return ErrDuplicate
		}
		return ErrUnasked
	}
	if r.challenges == maxChallenges {
		return ErrDuplicate // the repetitions of the timers go on
	}
	r.challenges++
	c.cookie = m.Cookie
	if r.registered && !r.forgotten {
		r.forgotten = true
		c.events = append(c.events, Forgotten{})
	}
	if !r.waiting {
		c.beginRegistration()
		r.tries = 1
		r.next = now.Add(c.jitter(registrationRetry))
	}
	c.sendRegistration()
	switch {
	case request != nil:
		c.sendRequest(m.Echo, request)
	case direction != nil && direction.answered:
		c.sendAnswer(m.Echo, direction)
	}
	return nil
}

// backoff is the wait before repetition number tries.
func backoff(first time.Duration, tries int, most time.Duration) time.Duration {
	if tries > 10 {
		return most
	}
	return min(first<<tries, most)
}

// jitter spreads d over ± 10 %.
func (c *Client) jitter(d time.Duration) time.Duration {
	span := int64(d) / 5
	if span <= 0 {
		return d
	}
	return d - time.Duration(span/2) + time.Duration(c.cfg.Random()%uint64(span))
}
