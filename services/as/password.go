package as

import (
	"context"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// passwords checks passwords: few at a time, because each costs memory and
// time on purpose, and with growing pauses for a subject whose password was
// wrong.
type passwords struct {
	slots chan struct{} // one element for each check that runs

	// under mu
	mu       sync.Mutex
	failures map[string]*failures // by UID
}

// failures are the wrong passwords of one subject.
type failures struct {
	count   int
	last    time.Time
	blocked time.Time // no check before
	running bool      // one check at a time
}

func newPasswords() *passwords {
	return &passwords{slots: make(chan struct{}, maxPasswordChecks), failures: make(map[string]*failures)}
}

// check returns nil if the password is right and a refusal otherwise.
func (p *passwords) check(ctx context.Context, now time.Time, subject *replica.Subject, password string) error {
	if err := p.begin(now, subject); err != nil {
		return err
	}
	right, err := p.verify(ctx, subject, password)
	p.end(now, subject, right, err)
	if err != nil {
		return err
	}
	if !right {
		return refuse(wire.LoginDenied, "password",
			"the password of %s %q is wrong: correct it in the device's configuration, or set a new one with cyphonicctl hash-password", subject.Kind(), subject.Name)
	}
	return nil
}

// begin reserves the subject's one check.
func (p *passwords) begin(now time.Time, subject *replica.Subject) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.failures[subject.UID]
	if f == nil {
		if len(p.failures) >= maxFailureRecords {
			p.forget(now)
		}
		if len(p.failures) >= maxFailureRecords {
			return refuse(wire.LoginRetry, "busy", "too many subjects with wrong passwords: try again later")
		}
		f = new(failures)
		p.failures[subject.UID] = f
	}
	if wait := f.blocked.Sub(now); wait > 0 {
		return refuse(wire.LoginRetry, "backoff", "too many wrong passwords for %s %q: try again in %s",
			subject.Kind(), subject.Name, wait.Round(time.Second))
	}
	if f.running {
		return refuse(wire.LoginRetry, "busy", "another password of %s %q is being checked: try again", subject.Kind(), subject.Name)
	}
	f.running = true
	return nil
}

// end records the outcome. A check that could not be made changes nothing.
func (p *passwords) end(now time.Time, subject *replica.Subject, right bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.failures[subject.UID]
	f.running = false
	if right {
		delete(p.failures, subject.UID)
		return
	}
	if err != nil {
		return
	}
	if now.Sub(f.last) > failureMemory {
		f.count = 0
	}
	f.count++
	f.last = now
	if over := f.count - freeFailures; over > 0 {
		f.blocked = now.Add(min(backoffMin<<min(over-1, 20), backoffMax))
	}
}

// forget drops the records that have ended.
func (p *passwords) forget(now time.Time) {
	for uid, f := range p.failures {
		if !f.running && now.Sub(f.last) > failureMemory {
			delete(p.failures, uid)
		}
	}
}

func (p *passwords) verify(ctx context.Context, subject *replica.Subject, password string) (bool, error) {
	queue, cancel := context.WithTimeout(ctx, passwordQueue)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
	case <-queue.Done():
		return false, refuse(wire.LoginRetry, "busy", "too many passwords are being checked: try again later")
	}
	defer func() { <-p.slots }()
	right, err := identity.VerifyPassword(subject.PasswordHash, password)
	if err != nil {
		return false, refuse(wire.LoginDenied, "password_hash",
			"the passwordHash of %s %q is malformed: set it to what cyphonicctl hash-password prints", subject.Kind(), subject.Name)
	}
	return right, nil
}
