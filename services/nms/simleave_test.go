package nms

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/signaling"
)

// prompt is how long a direction takes at most that needs no repetition by its initiator.
const prompt = 260 * time.Millisecond

// leaveAndReturn makes a replica leave as its life cycle does, end, and start again under its name with nothing.
func (s *simulation) leaveAndReturn(r *simReplica) {
	r.state = "Leaving"
	s.announce(300 * time.Millisecond)
	s.after(s.between(20*time.Millisecond, 200*time.Millisecond), func() { r.balance = false })
	s.at(r, func() { r.core.Leave(s.now) })
	s.after(5*time.Second, func() {
		if !r.core.HandedOver(s.now) {
			s.t.Errorf("%s has not given away what it has", r.name)
		}
		r.core.Refuse()
		r.dead, r.state = true, ""
		s.disconnect(r, time.Millisecond)
		s.announce(300 * time.Millisecond)
		s.after(s.between(time.Second, 3*time.Second), func() {
			s.names = slices.DeleteFunc(s.names, func(name string) bool { return name == r.name })
			s.start(s.newReplica(r.name))
		})
	})
}

// renew logs a device in again and registers it, as it does before its ticket ends.
func (s *simulation) renew(d *simDevice) {
	d.relogin()
	d.client.Renew(s.now, signaling.Credentials{
		Ticket: d.sealed, SessionKey: d.ticket.SessionKey, Certificate: d.certificate,
		Servers: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:7442")}, ServerTime: s.now,
	})
	s.serve(d)
}

// Hosts leave and return, with two replicas each, while devices log in, register and ask for each other: no first try is
// in vain on a network that loses nothing.
func TestNoFirstTryIsInVainWhileHostsLeaveAndReturn(t *testing.T) {
	for seed := range uint64(runsOf(t, 2)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := newHosts(t, 100+seed, 2, 6, 120)
			s.loss = 0
			for event := range 5 {
				begun := s.now
				for i := range 2 {
					s.leaveAndReturn(s.replicas[fmt.Sprintf("nms-%d", event%3*2+i)])
				}
				for n := 0; s.now.Sub(begun) < 11*time.Second; n++ {
					from, to := s.devices[s.random.IntN(len(s.devices))], s.devices[s.random.IntN(len(s.devices))]
					if from != to {
						s.request(from, to)
					}
					if n%3 == 0 {
						s.renew(s.devices[n/3%len(s.devices)])
					}
					s.run(12 * time.Millisecond)
				}
			}
			s.mustBeMet()
			s.settled()
			for _, r := range s.slow {
				t.Errorf("%s to %s at %s took %s", r.from.subject.Name, r.to.subject.Name, r.at.Format("05.000"), s.took[r])
			}
			t.Logf("%d directions, %d not at the first try", s.routed, len(s.slow))
		})
	}
}

// thirdRepetition is when the fourth repetition of a request would follow, at the earliest: 300, 600, 1,200 and 2,400 ms
// with their jitter.
const thirdRepetition = 4050 * time.Millisecond

// A host with two of six replicas is cut off without a word; the router notices after 0.9 s, the lease ends within five.
// No request needs more than three repetitions.
func TestThreeRepetitionsSufficeWhenAHostIsCutOff(t *testing.T) {
	for seed := range uint64(runsOf(t, 4)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := newHosts(t, 300+seed, 2, 6, 120)
			s.loss = 0
			for n := range 1200 {
				if n == 100 {
					for i := range 2 {
						s.cutOff(s.replicas[fmt.Sprintf("nms-%d", 2+i)])
					}
				}
				from, to := s.devices[s.random.IntN(len(s.devices))], s.devices[s.random.IntN(len(s.devices))]
				if from != to {
					s.request(from, to)
				}
				if n%12 == 0 {
					s.renew(s.devices[n/12%len(s.devices)])
				}
				s.run(12 * time.Millisecond)
			}
			s.mustBeMet()
			longest := time.Duration(0)
			for _, r := range s.slow {
				if longest = max(longest, s.took[r]); s.took[r] > thirdRepetition {
					t.Errorf("%s to %s at %s took %s", r.from.subject.Name, r.to.subject.Name, r.at.Format("05.000"), s.took[r])
				}
			}
			t.Logf("%d directions, %d not at the first try, the longest after %s", s.routed, len(s.slow), longest)
		})
	}
}
