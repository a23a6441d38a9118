package adapter

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
)

var (
	start    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	errOther = errors.New("connection refused")
)

// happy are the events of a device that works.
var happy = []event{
	seen{},
	located{port: "lan1"},
	authenticated{assurance: identity.AssuranceMAC},
	loggedIn{grant: &login.Grant{}},
	admitted{},
	registered{},
}

// row is one event of a walk and what the machine makes of it.
type row struct {
	event   event
	after   time.Duration // before the event
	phase   api.DevicePhase
	actions []action
}

// comesUp is how a device comes up.
var comesUp = []row{
	{seen{}, 0, api.DevicePhaseConnecting, []action{doLocate}},
	{located{port: "lan1"}, 0, api.DevicePhaseAuthenticating, []action{doAuthenticate}},
	{authenticated{assurance: identity.AssuranceMAC}, 0, api.DevicePhaseLoggingIn, []action{doLogin}},
	{loggedIn{grant: &login.Grant{}}, 0, api.DevicePhaseRegistering, []action{doAdmit, doRegister}},
	{admitted{}, 0, api.DevicePhaseRegistering, nil},
	{registered{}, 0, api.DevicePhaseUp, nil},
	{leased{until: start.Add(10 * time.Minute)}, 0, api.DevicePhaseUp, nil},
}

func TestMachineWalks(t *testing.T) {
	for _, walks := range []map[string][]row{walksOfGoodDevices(), walksOfTrouble()} {
		for name, rows := range walks {
			t.Run(name, func(t *testing.T) { walk(t, rows) })
		}
	}
}

func walk(t *testing.T, rows []row) {
	t.Helper()
	m, now := newMachine(), start
	for i, r := range rows {
		now = now.Add(r.after)
		got := m.step(now, r.event)
		if m.phase != r.phase || !slices.Equal(got, r.actions) {
			t.Fatalf("row %d, %T: phase %s, actions %v; want %s, %v", i, r.event, m.phase, got, r.phase, r.actions)
		}
	}
}

func walksOfGoodDevices() map[string][]row {
	return map[string][]row{
		"a device comes up": comesUp,
		"questions while up begin nothing": append(slices.Clone(comesUp),
			row{seen{}, time.Second, api.DevicePhaseUp, nil}),
		"a released address closes": append(slices.Clone(comesUp),
			row{released{}, time.Second, api.DevicePhaseDown, []action{doClose}},
			row{seen{}, time.Second, api.DevicePhaseConnecting, []action{doLocate}}),
		"a lease that is not renewed closes": append(slices.Clone(comesUp),
			row{tick{}, 9 * time.Minute, api.DevicePhaseUp, nil},
			row{tick{}, 61 * time.Second, api.DevicePhaseDown, []action{doClose}}),
		"a renewed lease goes on": append(slices.Clone(comesUp),
			row{leased{until: start.Add(20 * time.Minute)}, 5 * time.Minute, api.DevicePhaseUp, nil},
			row{tick{}, 6 * time.Minute, api.DevicePhaseUp, nil}),
		"a short flap of the port changes nothing": append(slices.Clone(comesUp),
			row{portState{up: false}, 0, api.DevicePhaseUp, nil},
			row{portState{up: true}, time.Second, api.DevicePhaseUp, nil},
			row{tick{}, time.Minute, api.DevicePhaseUp, nil}),
		"a port without carrier closes, and its return resumes": append(slices.Clone(comesUp),
			row{portState{up: false}, 0, api.DevicePhaseUp, nil},
			row{tick{}, portGrace, api.DevicePhaseDown, []action{doClose}},
			row{portState{up: true}, time.Minute, api.DevicePhaseDown, nil},
			row{resume{port: "lan1", until: start.Add(10 * time.Minute)}, 0, api.DevicePhaseAuthenticating, []action{doAuthenticate}}),
	}
}

func walksOfTrouble() map[string][]row {
	denied := &login.DeniedError{Code: wire.LoginDenied, Message: "not this adapter's"}
	return map[string][]row{
		"an unknown port waits for the next question": {
			{seen{}, 0, api.DevicePhaseConnecting, []action{doLocate}},
			{located{err: errOther}, 0, api.DevicePhaseAbsent, nil},
			{seen{}, 0, api.DevicePhaseConnecting, []action{doLocate}},
		},
		"a refused authentication closes and pauses": {
			{seen{}, 0, api.DevicePhaseConnecting, []action{doLocate}},
			{located{port: "lan1"}, 0, api.DevicePhaseAuthenticating, []action{doAuthenticate}},
			{authenticated{err: errOther}, 0, api.DevicePhaseFailed, []action{doClose}},
			{seen{}, time.Second, api.DevicePhaseFailed, nil},
			{seen{}, failedPause, api.DevicePhaseConnecting, []action{doLocate}},
		},
		"an unreachable AS is tried again": append(slices.Clone(comesUp[:3]),
			row{loggedIn{err: errOther}, 0, api.DevicePhaseLoggingIn, nil},
			row{tick{}, 2 * time.Second, api.DevicePhaseLoggingIn, []action{doLogin}},
			row{loggedIn{grant: &login.Grant{}}, 0, api.DevicePhaseRegistering, []action{doAdmit, doRegister}}),
		"an AS that answers others again is tried at once, and only once": append(slices.Clone(comesUp[:3]),
			row{reachable{}, 0, api.DevicePhaseLoggingIn, nil},
			row{loggedIn{err: errOther}, 0, api.DevicePhaseLoggingIn, nil},
			row{reachable{}, 100 * time.Millisecond, api.DevicePhaseLoggingIn, []action{doLogin}},
			row{reachable{}, 100 * time.Millisecond, api.DevicePhaseLoggingIn, nil}),
		"a refused login fails, and is tried again later": append(slices.Clone(comesUp[:3]),
			row{loggedIn{err: denied}, 0, api.DevicePhaseFailed, nil},
			row{seen{}, time.Second, api.DevicePhaseFailed, nil},
			row{tick{}, 11 * time.Second, api.DevicePhaseLoggingIn, []action{doLogin}}),
		"a LAN that cannot be opened closes": append(slices.Clone(comesUp[:4]),
			row{admitted{err: errOther}, 0, api.DevicePhaseFailed, []action{doClose}}),
		"an address in use closes and pauses": append(slices.Clone(comesUp),
			row{declined{}, 0, api.DevicePhaseFailed, []action{doClose}},
			row{seen{}, time.Second, api.DevicePhaseFailed, nil}),
		"a device that never takes its address is closed": append(slices.Clone(comesUp[:6]),
			row{tick{}, firstLease, api.DevicePhaseDown, []action{doClose}}),
		"other addresses close": append(slices.Clone(comesUp),
			row{renumbered{}, 0, api.DevicePhaseDown, []action{doClose}}),
	}
}

func TestReasonsAreForPeopleAndPrograms(t *testing.T) {
	m := newMachine()
	for _, e := range happy[:3] {
		m.step(start, e)
	}
	m.step(start, loggedIn{err: errOther})
	if m.reason != "LoginFailed: connection refused" {
		t.Errorf("reason = %q", m.reason)
	}
	m.step(start.Add(time.Minute), tick{})
	m.step(start.Add(time.Minute), loggedIn{grant: &login.Grant{}})
	if m.reason != "" {
		t.Errorf("reason after the success = %q", m.reason)
	}
}

// TestWhateverHappensNothingStaysOpen feeds random events: whoever was admitted and is not any more was closed, a
// device is never admitted without a login, and a waiting machine has a deadline.
func TestWhateverHappensNothingStaysOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, now, open := newMachine(), start, false
		events := []event{
			seen{},
			resume{port: "lan1", until: start.Add(time.Hour)},
			located{port: "lan1"},
			located{err: errOther},
			authenticated{assurance: identity.AssuranceMAC},
			authenticated{err: errOther},
			loggedIn{grant: &login.Grant{}},
			loggedIn{err: errOther},
			loggedIn{err: &login.DeniedError{}},
			admitted{},
			admitted{err: errOther},
			registered{},
			registered{err: errOther},
			leased{until: start.Add(time.Minute)},
			released{},
			declined{},
			portState{up: true},
			portState{},
			renumbered{},
			reachable{},
			tick{},
		}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "seconds")) * time.Second)
			e := rapid.SampledFrom(events).Draw(t, "event")
			if !possible(m, e) {
				continue
			}
			for _, a := range m.step(now, e) {
				switch a {
				case doAdmit:
					if l, ok := e.(loggedIn); !ok || l.err != nil {
						t.Fatalf("admitted by %T", e)
					}
					open = true
				case doClose:
					open = false
				}
			}
			mayBeOpen := m.phase == api.DevicePhaseRegistering || m.phase == api.DevicePhaseUp
			if open != mayBeOpen {
				t.Fatalf("open is %v in phase %s after %T", open, m.phase, e)
			}
			if mayBeOpen && m.deadline().IsZero() {
				t.Fatalf("phase %s has no end", m.phase)
			}
			if strings.TrimSpace(string(m.phase)) == "" {
				t.Fatalf("no phase after %T", e)
			}
		}
	})
}

// possible leaves out results of actions that are not under way: the driver drops those.
func possible(m *machine, e event) bool {
	switch e.(type) {
	case located:
		return m.phase == api.DevicePhaseConnecting
	case authenticated:
		return m.phase == api.DevicePhaseAuthenticating
	case loggedIn:
		return m.phase == api.DevicePhaseLoggingIn && m.retryAt.IsZero()
	case admitted, registered:
		return m.phase == api.DevicePhaseRegistering
	}
	return true
}
