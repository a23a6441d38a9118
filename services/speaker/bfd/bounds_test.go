package bfd

import (
	"math"
	"testing"
	"time"
)

// longest is the longest interval that a packet can name.
const longest = math.MaxUint32 * time.Microsecond

func TestNoNeighbourPutsDetectionOff(t *testing.T) {
	now := time.Unix(1000, 0)
	s := newSession(1, 300*time.Millisecond, 300*time.Millisecond, 3, now)
	for _, state := range []State{Init, Up} {
		s.receive(packet{state: state, multiplier: 255, mine: 2, yours: 1, minTx: longest, minRx: longest}, now)
	}
	if s.state != Up {
		t.Fatalf("%s, want up", s.state)
	}
	for end := now.Add(maxDetection); !s.deadline().After(end); {
		at := s.deadline()
		if c, _ := s.tick(at, 0.5); c.event && at.Before(end) {
			t.Errorf("down after %s, within what the neighbour has announced and the bound allows", at.Sub(now))
		}
	}
	if s.state != Down || s.diagnostic != DetectionTimeExpired {
		t.Errorf("after %s of silence: %s, %s", maxDetection, s.state, s.diagnostic)
	}
}

// A neighbour that wanted few packets, or none, and is gone: the next one there finds a session that speaks.
func TestASilentNeighbourIsCalledAgain(t *testing.T) {
	for name, wanted := range map[string]time.Duration{"none": 0, "the fewest": longest} {
		now := time.Unix(1000, 0)
		s := newSession(1, 300*time.Millisecond, 300*time.Millisecond, 3, now)
		s.receive(packet{state: AdminDown, multiplier: 3, mine: 2, minTx: time.Second, minRx: wanted}, now)
		s.tick(now, 0) // the next packet is put off as the neighbour wants
		gone := s.expires
		sent := false
		for !s.deadline().After(gone.Add(slowInterval)) {
			_, send := s.tick(s.deadline(), 0)
			sent = sent || send
		}
		if !sent {
			t.Errorf("%s: nothing is sent until %s after the neighbour is gone", name, s.deadline().Sub(gone))
		}
	}
}
