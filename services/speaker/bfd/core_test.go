package bfd

import (
	"bytes"
	"testing"
	"time"
)

// pair are two sessions with a wire between them, in virtual time.
type pair struct {
	t     *testing.T
	now   time.Time
	ends  [2]*session
	cut   [2]bool // what end i sends is lost
	sent  [2]int
	event [2][]bool // went up, went down
	polls int
}

func newPair(t *testing.T, intervals [2]time.Duration, multipliers [2]uint8) *pair {
	p := &pair{t: t, now: time.Unix(1000, 0)}
	for i := range 2 {
		p.ends[i] = newSession(uint32(i+1), intervals[i], intervals[i], multipliers[i], p.now)
	}
	return p
}

// run lets time pass, event by event.
func (p *pair) run(d time.Duration) {
	for end := p.now.Add(d); ; {
		next := earlier(p.ends[0].deadline(), p.ends[1].deadline())
		if next.After(end) {
			p.now = end
			return
		}
		p.now = next
		for i, s := range p.ends {
			c, send := s.tick(p.now, 0.5)
			p.note(i, c)
			if send {
				p.deliver(i, s.packet(false))
			}
		}
	}
}

func (p *pair) note(i int, c change) {
	if c.event {
		p.event[i] = append(p.event[i], p.ends[i].state == Up)
	}
}

// deliver sends a packet of end i through its bytes.
func (p *pair) deliver(i int, out packet) {
	p.sent[i]++
	if p.cut[i] {
		return
	}
	in, err := parsePacket(out.append(nil))
	if err != nil || in != out {
		p.t.Fatalf("%+v became %+v: %v", out, in, err)
	}
	if in.poll {
		p.polls++
	}
	other := p.ends[1-i]
	c := other.receive(in, p.now)
	p.note(1-i, c)
	if c.answer {
		p.deliver(1-i, other.packet(true))
	}
	if c.speak {
		p.deliver(1-i, other.packet(false))
	}
}

func TestSessionsComeUpAndAgreeOnIntervals(t *testing.T) {
	p := newPair(t, [2]time.Duration{300 * time.Millisecond, 100 * time.Millisecond}, [2]uint8{3, 5})
	p.run(3 * time.Second)
	for i, s := range p.ends {
		if s.state != Up || s.polling || len(p.event[i]) != 1 {
			t.Errorf("end %d: %s, polling %v, events %v", i, s.state, s.polling, p.event[i])
		}
	}
	if p.polls == 0 {
		t.Error("the faster interval was used without a Poll Sequence")
	}
	// The slower of both ends decides: 300 ms with the jitter of 0.5, that is 262.5 ms.
	before := p.sent
	p.run(10 * time.Second)
	for i := range 2 {
		if n := p.sent[i] - before[i]; n < 37 || n > 39 {
			t.Errorf("end %d sent %d packets in 10 s, want 38", i, n)
		}
	}
	if d := p.ends[0].detection(); d != 1500*time.Millisecond {
		t.Errorf("detection time %s, want 5 × 300 ms", d)
	}
}

func TestSilenceIsDetectedInTime(t *testing.T) {
	p := newPair(t, [2]time.Duration{300 * time.Millisecond, 300 * time.Millisecond}, [2]uint8{3, 3})
	p.run(5 * time.Second)
	p.cut = [2]bool{true, true}
	p.run(600 * time.Millisecond)
	if p.ends[0].state != Up || p.ends[1].state != Up {
		t.Fatal("two lost packets are no silence")
	}
	p.run(300 * time.Millisecond)
	for i, s := range p.ends {
		if s.state != Down || s.diagnostic != DetectionTimeExpired || s.remote != 0 {
			t.Errorf("end %d after 900 ms: %s, %s, remote %d", i, s.state, s.diagnostic, s.remote)
		}
	}
	p.cut = [2]bool{}
	p.run(3 * time.Second)
	if p.ends[0].state != Up || p.ends[1].state != Up {
		t.Error("the sessions do not come back")
	}
}

func TestOneWayLossBringsBothDown(t *testing.T) {
	p := newPair(t, [2]time.Duration{100 * time.Millisecond, 100 * time.Millisecond}, [2]uint8{3, 3})
	p.run(5 * time.Second)
	p.cut[0] = true
	p.run(400 * time.Millisecond)
	if s := p.ends[1]; s.diagnostic != DetectionTimeExpired {
		t.Errorf("the deaf end: %s, %s", s.state, s.diagnostic)
	}
	if s := p.ends[0]; s.state == Up || s.diagnostic != NeighborDown {
		t.Errorf("the other end: %s, %s", s.state, s.diagnostic)
	}
}

func TestSwitchingOffIsNoFailure(t *testing.T) {
	p := newPair(t, [2]time.Duration{100 * time.Millisecond, 100 * time.Millisecond}, [2]uint8{3, 3})
	p.run(5 * time.Second)
	p.deliver(0, p.ends[0].end())
	if s := p.ends[1]; s.state != Down || s.diagnostic != NeighborDown || s.remoteState != AdminDown {
		t.Errorf("%s, %s, neighbour %s", s.state, s.diagnostic, s.remoteState)
	}
	if e := p.event[1]; len(e) != 2 || e[1] {
		t.Errorf("events %v, want up and down", e)
	}
}

func TestChangedIntervalsLoseNoSession(t *testing.T) {
	p := newPair(t, [2]time.Duration{100 * time.Millisecond, 100 * time.Millisecond}, [2]uint8{3, 3})
	p.run(5 * time.Second)
	for _, d := range []time.Duration{time.Second, 50 * time.Millisecond, 400 * time.Millisecond} {
		p.ends[0].configure(d, d, 3, p.now)
		p.run(8 * time.Second)
		if s := p.ends[0]; s.polling || s.usedTx != d || s.usedRx != d {
			t.Errorf("after the change to %s: polling %v, %s and %s in use", d, s.polling, s.usedTx, s.usedRx)
		}
	}
	for i := range 2 {
		if len(p.event[i]) != 1 {
			t.Errorf("end %d: events %v, want one only", i, p.event[i])
		}
	}
}

func TestDemandAndZeroReceiveIntervalAreRespected(t *testing.T) {
	s := newSession(1, 100*time.Millisecond, 100*time.Millisecond, 3, time.Unix(0, 0))
	now := time.Unix(0, 0)
	for _, state := range []State{Init, Up} {
		s.receive(packet{state: state, multiplier: 3, mine: 2, yours: 1, minTx: time.Second, minRx: 0}, now)
	}
	if _, send := s.tick(now.Add(time.Second), 0); send {
		t.Error("a packet although the neighbour wants none")
	}
	s.receive(packet{state: Up, multiplier: 3, mine: 2, yours: 1, minTx: time.Second, minRx: time.Second, demand: true, final: true}, now)
	if _, send := s.tick(now.Add(2*time.Second), 0); send {
		t.Error("a packet although the neighbour is in demand mode")
	}
	s.receive(packet{state: Up, multiplier: 3, mine: 2, yours: 1, minTx: time.Second, minRx: time.Second}, now)
	if _, send := s.tick(now.Add(4*time.Second), 0); !send && s.state == Up {
		t.Error("no packet after demand mode")
	}
}

func TestUnusablePackets(t *testing.T) {
	good := packet{state: Up, multiplier: 3, mine: 1, yours: 2, minTx: time.Second, minRx: time.Second}.append(nil)
	if _, err := parsePacket(good); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		at   int
		to   byte
		want error
	}{
		{"version 0", 0, 0, errVersion},
		{"version 2", 0, 2 << 5, errVersion},
		{"authentication", 1, byte(Up)<<6 | flagAuthentication, errAuthentication},
		{"multipoint", 1, byte(Up)<<6 | flagMultipoint, errMalformed},
		{"poll and final", 1, byte(Up)<<6 | flagPoll | flagFinal, errMalformed},
		{"multiplier 0", 2, 0, errMalformed},
		{"length too small", 3, 23, errMalformed},
		{"length too great", 3, 25, errMalformed},
		{"no discriminator", 7, 0, errMalformed},
		{"up without ours", 11, 0, errMalformed},
	} {
		data := bytes.Clone(good)
		data[row.at] = row.to
		if _, err := parsePacket(data); err != row.want {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
	if _, err := parsePacket(good[:23]); err != errMalformed {
		t.Errorf("short: %v", err)
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(packet{state: Up, poll: true, multiplier: 3, mine: 1, yours: 2, minTx: time.Second, minRx: time.Second}.append(nil))
	f.Add(packet{diagnostic: NeighborDown, state: Down, multiplier: 1, mine: 1}.append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePacket(data)
		if err != nil {
			return
		}
		again, err := parsePacket(p.append(nil))
		if err != nil || again != p {
			t.Errorf("%+v became %+v: %v", p, again, err)
		}
		s := newSession(2, time.Second, time.Second, 3, time.Unix(0, 0))
		s.receive(p, time.Unix(1, 0))
		s.tick(s.deadline(), 0)
		if s.detection() < 0 || s.interval(1) <= 0 {
			t.Errorf("detection %s, interval %s", s.detection(), s.interval(1))
		}
	})
}
