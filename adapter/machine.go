package adapter

import (
	"errors"
	"fmt"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/enrolment"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
)

// The life of one general node, as a state machine without I/O or clock. The driver (generalnode.go) feeds
// it events and carries out its actions; a result that belongs to an abandoned attempt never reaches it.
//
//	Absent ─seen→ Connecting ─located→ Authenticating ─ok→ LoggingIn ─ok→ Registering ─ok→ Up
//	  ↑              │ no port              │ refused          │ error: again, later      │
//	  └──────────────┘                      ↓                  ↓ refused: Failed          ↓ released, lease ended, port down
//	                                      Failed ──seen, after a while──→ Connecting    Down ─seen→ Connecting
//
// From a good login on the device may send and gets its address; the NMS being away does not keep it from
// either, so it is Up the moment the NMS is back.
type machine struct {
	phase     api.DevicePhase
	reason    string
	port      string
	assurance identity.Assurance

	attempt    int       // failed logins in a row
	retryAt    time.Time // of the login, or before which a failed device is not looked at
	leaseUntil time.Time
	downAt     time.Time // its port's carrier went
}

// event is what happens to a general node.
type event interface{ isEvent() }

type (
	seen   struct{} // it asks for an address
	resume struct { // it has an unexpired lease from before, on a port that has a carrier
		port  string
		until time.Time
	}
	located struct {
		port string
		err  error
	}
	authenticated struct {
		assurance identity.Assurance
		err       error
	}
	loggedIn struct {
		grant *login.Grant
		err   error
	}
	admitted   struct{ err error }
	registered struct{ err error }
	leased     struct{ until time.Time }
	released   struct{}
	declined   struct{}
	portState  struct{ up bool } // of its own port
	renumbered struct{}          // a renewed grant has other addresses
	reachable  struct{}          // the AS answers again
	tick       struct{}          // deadline has passed
)

func (seen) isEvent()          {}
func (resume) isEvent()        {}
func (located) isEvent()       {}
func (authenticated) isEvent() {}
func (loggedIn) isEvent()      {}
func (admitted) isEvent()      {}
func (registered) isEvent()    {}
func (leased) isEvent()        {}
func (released) isEvent()      {}
func (declined) isEvent()      {}
func (portState) isEvent()     {}
func (renumbered) isEvent()    {}
func (reachable) isEvent()     {}
func (tick) isEvent()          {}

// action is what the driver does next; its outcome comes back as an event.
type action string

const (
	doLocate       action = "locate"       // find its port → located
	doAuthenticate action = "authenticate" // → authenticated
	doLogin        action = "login"        // → loggedIn
	doAdmit        action = "admit"        // open the LAN for it and answer its DHCP question → admitted
	doRegister     action = "register"     // host its identity → registered
	doClose        action = "close"        // undo admission and identity, abandon what is under way
)

// Reasons of the status, one word for programs; details follow after a colon.
const (
	reasonPortUnknown  = "PortUnknown"
	reasonRefused      = "AuthenticationRefused"
	reasonLoginDenied  = "LoginDenied"
	reasonLoginFailed  = "LoginFailed"
	reasonLAN          = "LANFailed"
	reasonRegistration = "RegistrationFailed"
	reasonReleased     = "Released"
	reasonDeclined     = "AddressDeclined"
	reasonPortDown     = "PortDown"
	reasonLeaseExpired = "LeaseExpired"
	reasonNoLease      = "NoLease"
	reasonRenumbered   = "AddressChanged"
	reasonStopped      = "AdapterStopped"
)

func newMachine() *machine { return &machine{phase: api.DevicePhaseAbsent} }

// step advances by one event.
func (m *machine) step(now time.Time, e event) []action {
	switch e := e.(type) {
	case seen:
		if m.idle() && !now.Before(m.retryAt) {
			return m.enter(api.DevicePhaseConnecting, "", doLocate)
		}
	case resume:
		if m.idle() && !now.Before(m.retryAt) {
			m.port, m.leaseUntil, m.downAt = e.port, e.until, time.Time{}
			return m.enter(api.DevicePhaseAuthenticating, "", doAuthenticate)
		}
	case located:
		return m.located(e)
	case authenticated:
		return m.authenticated(now, e)
	case loggedIn:
		return m.loggedIn(now, e)
	case admitted:
		if e.err != nil {
			return m.fail(now, reasonLAN, e.err)
		}
	case registered:
		if e.err != nil {
			return m.fail(now, reasonRegistration, e.err)
		}
		return m.enter(api.DevicePhaseUp, "")
	case leased:
		m.leaseUntil = e.until
	case released:
		return m.down(reasonReleased)
	case declined:
		return m.fail(now, reasonDeclined, nil)
	case portState:
		m.portState(now, e.up)
	case renumbered:
		return m.down(reasonRenumbered)
	case reachable:
		if m.phase == api.DevicePhaseLoggingIn && !m.retryAt.IsZero() {
			m.retryAt = time.Time{}
			return m.enter(api.DevicePhaseLoggingIn, m.reason, doLogin)
		}
	case tick:
		return m.tick(now)
	}
	return nil
}

// deadline is when the machine wants a tick; zero for never.
func (m *machine) deadline() time.Time {
	var first time.Time
	consider := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if m.active() {
		consider(m.leaseUntil)
		if !m.downAt.IsZero() {
			consider(m.downAt.Add(portGrace))
		}
	}
	if m.phase == api.DevicePhaseLoggingIn || m.deniedLogin() {
		consider(m.retryAt)
	}
	return first
}

// idle says that the device's next question begins a new attempt.
func (m *machine) idle() bool {
	return m.phase == api.DevicePhaseAbsent || m.phase == api.DevicePhaseDown || m.phase == api.DevicePhaseFailed && !m.deniedLogin()
}

// active says that the device has passed authentication and something of it is open.
func (m *machine) active() bool {
	return m.phase == api.DevicePhaseLoggingIn || m.phase == api.DevicePhaseRegistering || m.phase == api.DevicePhaseUp
}

func (m *machine) deniedLogin() bool {
	return m.phase == api.DevicePhaseFailed && m.assurance != 0
}

func (m *machine) enter(phase api.DevicePhase, reason string, actions ...action) []action {
	m.phase, m.reason = phase, reason
	return actions
}

func (m *machine) located(e located) []action {
	if e.err != nil {
		return m.enter(api.DevicePhaseAbsent, reason(reasonPortUnknown, e.err))
	}
	m.port, m.downAt, m.leaseUntil = e.port, time.Time{}, time.Time{}
	return m.enter(api.DevicePhaseAuthenticating, "", doAuthenticate)
}

func (m *machine) authenticated(now time.Time, e authenticated) []action {
	if e.err != nil {
		return m.fail(now, reasonRefused, e.err)
	}
	m.assurance = e.assurance
	m.leaseUntil = later(m.leaseUntil, now.Add(firstLease))
	return m.enter(api.DevicePhaseLoggingIn, "", doLogin)
}

// loggedIn tries again after every error: after a refusal too, since the operator may change the resource.
func (m *machine) loggedIn(now time.Time, e loggedIn) []action {
	var denied *login.DeniedError
	switch {
	case e.err == nil:
		m.attempt, m.retryAt = 0, time.Time{}
		m.leaseUntil = later(m.leaseUntil, now.Add(firstLease))
		return m.enter(api.DevicePhaseRegistering, "", doAdmit, doRegister)
	case errors.As(e.err, &denied):
		m.retryAt = now.Add(enrolment.Delay(m.attempt, e.err))
		m.attempt++
		return m.enter(api.DevicePhaseFailed, reason(reasonLoginDenied, e.err))
	default:
		m.retryAt = now.Add(enrolment.Delay(m.attempt, e.err))
		m.attempt++
		m.leaseUntil = later(m.leaseUntil, m.retryAt.Add(firstLease)) // the device goes on asking meanwhile
		return m.enter(api.DevicePhaseLoggingIn, reason(reasonLoginFailed, e.err))
	}
}

// portState: a short flap changes nothing; a carrier that comes back within the lease lets a device go on that
// does not ask again.
func (m *machine) portState(now time.Time, up bool) {
	switch {
	case !up && m.downAt.IsZero():
		m.downAt = now
	case up:
		m.downAt = time.Time{}
	}
}

func (m *machine) tick(now time.Time) []action {
	switch {
	case m.active() && !m.downAt.IsZero() && !now.Before(m.downAt.Add(portGrace)):
		return m.down(reasonPortDown)
	case m.active() && !m.leaseUntil.IsZero() && !now.Before(m.leaseUntil):
		if m.phase == api.DevicePhaseUp {
			return m.down(reasonLeaseExpired)
		}
		return m.down(reasonNoLease)
	case (m.phase == api.DevicePhaseLoggingIn || m.deniedLogin()) && !m.retryAt.IsZero() && !now.Before(m.retryAt):
		m.retryAt = time.Time{}
		return m.enter(api.DevicePhaseLoggingIn, m.reason, doLogin)
	}
	return nil
}

// fail closes everything and does not look at the device for a while.
func (m *machine) fail(now time.Time, word string, err error) []action {
	m.reset()
	m.retryAt = now.Add(failedPause)
	return m.enter(api.DevicePhaseFailed, reason(word, err), doClose)
}

func (m *machine) down(word string) []action {
	if !m.active() && !m.deniedLogin() {
		return nil
	}
	m.reset()
	return m.enter(api.DevicePhaseDown, word, doClose)
}

func (m *machine) reset() {
	*m = machine{}
}

func reason(word string, err error) string {
	if err == nil {
		return word
	}
	return fmt.Sprintf("%s: %v", word, err)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
