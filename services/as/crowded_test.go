package as

import (
	"net"
	"testing"
	"time"
)

// deadlined is a connection that notes until when it is waited for.
type deadlined struct {
	net.Conn
	until time.Time
}

func (d *deadlined) SetDeadline(until time.Time) error {
	d.until = until
	return nil
}

// Connections that say nothing are given up sooner when they become many.
func TestACrowdIsNotWaitedForAsLong(t *testing.T) {
	s := &Server{open: make(map[net.Conn]*activity)}
	wait := func() time.Duration {
		conn := new(deadlined)
		start := time.Now()
		if !s.await(conn, false, idleTimeout) {
			t.Fatal("not waited for")
		}
		return conn.until.Sub(start).Round(time.Second)
	}
	for len(s.open) < crowded {
		s.open[new(deadlined)] = new(activity)
	}
	if got := wait(); got != idleTimeout {
		t.Errorf("among %d connections: %v, want %v", len(s.open), got, idleTimeout)
	}
	s.open[new(deadlined)] = new(activity)
	if got := wait(); got != crowdedTimeout {
		t.Errorf("among %d connections: %v, want %v", len(s.open), got, crowdedTimeout)
	}
}
