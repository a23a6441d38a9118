package nms

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// join starts a replica, which is linked and ready some time later.
func (s *simulation) join() *simReplica {
	r := s.newReplica(fmt.Sprintf("nms-%d", len(s.names)))
	s.start(r)
	return r
}

func (s *simulation) start(r *simReplica) {
	s.tick(r)
	s.second(r)
	r.state = "Starting"
	s.announce(100 * time.Millisecond)
	s.after(s.between(50*time.Millisecond, 200*time.Millisecond), func() {
		s.connect(r)
		s.after(s.between(10*time.Millisecond, 300*time.Millisecond), func() {
			r.state = "Ready"
			s.announce(300 * time.Millisecond)
			s.after(s.between(10*time.Millisecond, 300*time.Millisecond), func() { r.balance = true })
		})
	})
}

// kill ends a replica at once: links break, routers notice a little later, the lease ends in five seconds.
func (s *simulation) kill(r *simReplica) {
	r.dead = true
	s.disconnect(r, time.Millisecond)
	s.after(200*time.Millisecond, func() { r.balance = false })
	s.after(s.between(3*time.Second, 5*time.Second), func() { r.state = ""; s.announce(300 * time.Millisecond) })
}

// cutOff ends a replica's host: nobody hears a word, not even that a link has broken.
func (s *simulation) cutOff(r *simReplica) {
	r.cut = true
	s.disconnect(r, 3*time.Second)
	s.after(900*time.Millisecond, func() { r.balance = false })
	s.after(s.between(3*time.Second, 5*time.Second), func() { r.dead, r.state = true, ""; s.announce(300 * time.Millisecond) })
}

// drain makes a replica leave in good order.
func (s *simulation) drain(r *simReplica) {
	r.state = "Leaving"
	s.announce(300 * time.Millisecond)
	s.after(s.between(10*time.Millisecond, time.Second), func() { r.balance = false })
	begun := s.now
	s.after(time.Second, func() { s.at(r, func() { r.core.Leave(s.now) }); s.handOver(r, begun) })
}

func (s *simulation) handOver(r *simReplica, begun time.Time) {
	if !r.core.HandedOver(s.now) {
		if s.now.Sub(begun) > 5*time.Second {
			s.t.Errorf("%s has not given away what it has", r.name)
			return
		}
		s.after(tickInterval, func() { s.handOver(r, begun) })
		return
	}
	r.core.Refuse()
	s.after(2*time.Second, func() {
		r.dead, r.state = true, ""
		s.disconnect(r, time.Millisecond)
		s.announce(300 * time.Millisecond)
	})
}

// pause stops a replica's process (SIGSTOP) and lets it go on later.
func (s *simulation) pause(r *simReplica, d time.Duration) {
	r.paused = true
	if d > time.Second {
		s.after(time.Second, func() { r.balance = r.balance && !r.paused })
	}
	if d > 3*time.Second {
		s.disconnect(r, 3*time.Second)
	}
	if d > 5*time.Second {
		s.after(5*time.Second, func() { r.state = ""; s.announce(300 * time.Millisecond) })
	}
	s.after(d, func() {
		r.paused = false
		late := r.late
		r.late = nil
		for _, do := range late {
			s.at(r, do)
		}
		s.after(s.between(50*time.Millisecond, 500*time.Millisecond), func() {
			s.connect(r)
			if r.state == "" {
				r.state = "Ready"
				s.announce(300 * time.Millisecond)
			}
			r.balance = true
		})
	})
}

// cutFromEtcd makes a replica lose its lease without hearing of it but from the others.
func (s *simulation) cutFromEtcd(r *simReplica) {
	r.alone = true
	s.after(5*time.Second, func() { r.state = ""; s.announce(300 * time.Millisecond) })
	s.after(5500*time.Millisecond, func() {
		if r.core.Ready() == nil {
			s.t.Errorf("%s does not know that it was removed", r.name)
		}
		r.balance = false
	})
	s.after(9*time.Second, func() {
		r.alone, r.state = false, "Ready"
		s.announce(300 * time.Millisecond)
		s.after(500*time.Millisecond, func() {
			if err := r.core.Ready(); err != nil {
				s.t.Errorf("%s is a member again: %v", r.name, err)
			}
			r.balance = true
		})
	})
}

// settled holds the rule that each registered device has exactly one replica that acts for it and one more that has a
// copy as good.
func (s *simulation) settled() {
	s.t.Helper()
	for _, d := range s.devices {
		if !d.online || !d.client.Registered() {
			s.t.Errorf("%s is not registered", d.subject.Name)
			continue
		}
		var acting, copies []string
		for _, name := range s.names {
			r := s.replicas[name]
			l := (*location)(nil)
			if !r.dead {
				l = r.core.locations[d.subject.UID]
			}
			switch {
			case l == nil:
			case l.acting == name:
				acting = append(acting, name)
				if l.addr != d.src {
					s.t.Errorf("%s is at %v, not at %v, says %s", d.subject.Name, d.src, l.addr, name)
				}
			case l.acting != name && l.addr == d.src && slices.Contains(r.core.holders(d.subject.UID), name):
				copies = append(copies, name)
			}
		}
		if len(acting) != 1 || len(copies) == 0 && len(s.alive()) > 1 {
			s.t.Errorf("%s: replicas %v act, %v have a copy", d.subject.Name, acting, copies)
		}
	}
}

// traffic makes devices ask for each other for some time.
func (s *simulation) traffic(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); s.run(s.between(20*time.Millisecond, 200*time.Millisecond)) {
		from, to := s.devices[s.random.IntN(len(s.devices))], s.devices[s.random.IntN(len(s.devices))]
		if from != to {
			s.request(from, to)
		}
	}
}

// mustBeMet holds the rule that every request was met while its device repeated it.
func (s *simulation) mustBeMet() {
	s.t.Helper()
	s.run(7 * time.Second)
	for _, text := range s.overdue() {
		s.t.Errorf("a request was not met: %s", text)
	}
}

func TestReplicasServeAsOne(t *testing.T) {
	for _, replicas := range []int{1, 2, 3, 7} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			s := newSimulation(t, uint64(replicas), replicas, 20)
			s.settled()
			s.traffic(10 * time.Second)
			s.mustBeMet()
			s.settled()
			if s.routed < 50 || s.attacks < 20 {
				t.Errorf("%d directions and %d attacks are too few to say something", s.routed, s.attacks)
			}
		})
	}
}

// One thing happens to three replicas while devices talk; nothing is lost, repeated or refused.
func TestOneFaultIsNotNoticed(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault func(s *simulation)
	}{
		{"a replica joins", func(s *simulation) { s.join() }},
		{"a replica leaves", func(s *simulation) { s.drain(s.alive()[1]) }},
		{"a replica is killed", func(s *simulation) { s.kill(s.alive()[1]) }},
		{"a host is cut off", func(s *simulation) { s.cutOff(s.alive()[1]) }},
		{"a replica pauses for a moment", func(s *simulation) { s.pause(s.alive()[1], 300*time.Millisecond) }},
		{"a replica pauses", func(s *simulation) { s.pause(s.alive()[1], 2*time.Second) }},
		{"a replica pauses until its lease has ended", func(s *simulation) { s.pause(s.alive()[1], 8*time.Second) }},
		{"a replica is killed while another one joins", func(s *simulation) { s.join(); s.kill(s.alive()[0]) }},
		{"a replica is cut off from etcd only", func(s *simulation) { s.cutFromEtcd(s.alive()[1]) }},
		{"all but one leave", func(s *simulation) { list := s.alive(); s.drain(list[0]); s.drain(list[1]) }},
		{"etcd is away and a replica is killed", func(s *simulation) {
			r := s.alive()[1]
			r.dead = true
			s.disconnect(r, time.Millisecond)
			s.after(200*time.Millisecond, func() { r.balance = false })
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSimulation(t, 7, 3, 20)
			s.traffic(2 * time.Second)
			row.fault(s)
			s.traffic(12 * time.Second)
			s.mustBeMet()
			s.settled()
			if s.routed < 50 {
				t.Errorf("%d directions are too few to say something", s.routed)
			}
		})
	}
}

// A drain must not need the devices: what they have said before is enough.
func TestLocationsMoveWithoutTheDevices(t *testing.T) {
	s := newSimulation(t, 3, 3, 40)
	s.loss = 0
	s.traffic(2 * time.Second)
	sent := 0
	for _, d := range s.devices {
		d.online = false // says nothing any more
	}
	s.join()
	s.run(2 * time.Second)
	s.drain(s.alive()[0])
	s.run(6 * time.Second)
	s.kill(s.alive()[0])
	s.run(8 * time.Second)
	for _, d := range s.devices {
		d.online = true
		sent++
	}
	s.settled()
	if sent == 0 {
		t.Error("no devices")
	}
}

// Faults of all kinds follow each other. CYPHONIC_NMS_SEEDS says how many runs there are.
func TestManyFaults(t *testing.T) {
	for seed := range uint64(runsOf(t, 6)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := newSimulation(t, 1000+seed, 4, 16)
			for range 6 {
				s.randomFault()
				s.traffic(s.between(4*time.Second, 9*time.Second))
			}
			s.traffic(8 * time.Second)
			s.mustBeMet()
			s.settled()
			t.Logf("%d directions, %d attacks, %d datagrams taken at two owners", s.routed, s.attacks, s.twice)
		})
	}
}

// runsOf is how many runs with other random numbers are asked for.
func runsOf(t *testing.T, missing int) int {
	t.Helper()
	text := os.Getenv("CYPHONIC_NMS_SEEDS")
	if text == "" {
		return missing
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *simulation) randomFault() {
	list := s.alive()
	r := list[s.random.IntN(len(list))]
	n := s.random.IntN(6)
	switch {
	case n == 0 || len(list) < 3:
		s.join()
	case n == 1:
		s.drain(r)
	case n == 2:
		s.kill(r)
	case n == 3:
		s.cutOff(r)
	case n == 4:
		s.pause(r, s.between(100*time.Millisecond, 9*time.Second))
	case n == 5:
		s.join()
		s.drain(r)
	}
}
