package as

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
)

// activity is what a connection does at the moment.
type activity struct {
	waiting bool // for the device to say something
	served  bool // a login before
}

// await says that the device is waited for, for at most timeout, and shorter when there are many. While the server refuses, a device that has been served
// is not waited for, and any other one not for long.
func (s *Server) await(raw net.Conn, served bool, timeout time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusing {
		if served {
			return false
		}
		timeout = min(timeout, drainPatience)
	}
	if len(s.open) > crowded {
		timeout = min(timeout, crowdedTimeout)
	}
	if a := s.open[raw]; a != nil {
		a.waiting, a.served = true, served
	}
	// Deadlines are of the operating system's clock, whatever s.now is.
	_ = raw.SetDeadline(time.Now().Add(timeout))
	return true
}

// begin says that the device has said something, whose handling takes at most timeout.
func (s *Server) begin(raw net.Conn, timeout time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.open[raw]; a != nil {
		a.waiting = false
	}
	_ = raw.SetDeadline(time.Now().Add(timeout))
}

func (s *Server) isRefusing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusing
}

// Ready returns nil if logins can be granted now.
func (s *Server) Ready() error {
	if s.isRefusing() {
		return errors.New("draining")
	}
	snap := s.core.directory.Snapshot()
	if (snap.TicketKeys().Current == identity.SealingKey{}) || (snap.AccessKeys().Current == identity.SealingKey{}) {
		return errors.New("the desired state and the shared keys have not been read yet")
	}
	return nil
}

// HandOver returns at once: an AS owns nothing.
func (s *Server) HandOver(context.Context) error { return nil }

// Refuse takes what has reached the listener already and then nothing more, ends the connections between two logins
// and lets the logins under way finish. A device that meanwhile sent a request on such a connection repeats it at
// another replica: logins are idempotent.
func (s *Server) Refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusing {
		return
	}
	s.refusing = true
	// Closing a listener resets the connections that wait in it.
	if l, ok := s.listener.(interface{ SetDeadline(time.Time) error }); !ok || l.SetDeadline(time.Now().Add(lastCall)) != nil {
		_ = s.listener.Close()
	}
	for conn, a := range s.open {
		switch {
		case a.waiting && a.served:
			_ = conn.Close()
		case a.waiting:
			_ = conn.SetReadDeadline(time.Now().Add(drainPatience))
		}
	}
}

// Residual is the number of connections with a login under way: those that have not been served, and those whose
// request is being answered.
func (s *Server) Residual() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, a := range s.open {
		if !a.waiting || !a.served {
			n++
		}
	}
	return n
}
