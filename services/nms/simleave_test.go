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
			s := newSimulation(t, 100+seed, 6, 120)
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
