package nms

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// changed replaces a subject of the desired state by one that f has changed.
func (w *world) changed(d *device, f func(*replica.Subject)) {
	for i, s := range w.contents.Subjects {
		if s.UID == d.subject.UID {
			c := *s
			f(&c)
			w.contents.Subjects[i] = &c
		}
	}
	w.publish()
}

// announced is the devices that the core tells, by name, and their policy versions.
func (w *world) announced(devices ...*device) map[string]uint64 {
	w.t.Helper()
	got := make(map[string]uint64)
	for _, m := range w.open(w.core.PolicyChanged(w.now, nil), devices...) {
		ack, ok := m.body.(wire.RegistrationAck)
		if !ok {
			w.t.Fatalf("%T is announced", m.body)
		}
		for _, d := range devices {
			if d.src != m.to {
				continue
			}
			if ack.Echo != d.echo || ack.Observed != d.src || ack.TTL != 90 || ack.Policy == 0 {
				w.t.Errorf("%s is told %+v", d.subject.Name, ack)
			}
			got[d.subject.Name] = ack.Policy
		}
	}
	return got
}

type policyChange struct {
	name   string
	change func(w *world, viewer, cam *device)
	told   string
}

func policyChanges() []policyChange {
	const all = "[cam viewer]"
	return []policyChange{
		{"nothing", func(*world, *device, *device) {}, "[]"},
		{"unrelated write", func(w *world, _, _ *device) {
			w.contents.Revision++
			w.contents.Relay.Current.ID++
			w.contents.Services = nil
			w.publish()
		}, "[]"},
		{"policy withdrawn", func(w *world, _, _ *device) { w.contents.Policies = nil; w.publish() }, all},
		{"rules narrowed", func(w *world, _, _ *device) {
			p := *w.contents.Policies[0]
			p.Spec.Rules = []api.PolicyRule{{Protocol: "tcp", Ports: []string{"81"}}}
			w.contents.Policies = []*api.AccessPolicy{&p}
			w.publish()
		}, all},
		{"policy of another network", func(w *world, _, _ *device) {
			w.contents.Policies = append(w.contents.Policies, &api.AccessPolicy{Spec: api.AccessPolicySpec{Network: "work"}})
			w.publish()
		}, "[]"},
		{"labels changed", func(w *world, _, cam *device) {
			w.changed(cam, func(s *replica.Subject) { s.Labels = map[string]string{"a": "b"} })
		}, all},
		{"device disabled", func(w *world, _, cam *device) {
			w.changed(cam, func(s *replica.Subject) { s.Disabled = true })
		}, "[viewer]"},
		{"device deleted", func(w *world, _, _ *device) {
			w.contents.Subjects = w.contents.Subjects[:1]
			w.publish()
		}, "[viewer]"},
		{"device has another key", func(w *world, _, cam *device) {
			key, err := identity.NewDeviceKey(rand.Reader)
			if err != nil {
				w.t.Fatal(err)
			}
			w.contents.Enrolled = map[replica.Ref]replica.Enrolled{cam.subject.Ref: {UID: cam.subject.UID, Public: key.Public()}}
			w.publish()
		}, "[viewer]"},
		{"location has ended", func(w *world, _, cam *device) {
			cam.send(wire.Logout{})
			w.contents.Policies = nil
			w.publish()
		}, "[viewer]"},
	}
}

func TestDevicesAreToldOfAChangedPolicyOnce(t *testing.T) {
	for _, c := range policyChanges() {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			viewer, cam := w.node("viewer", 2, "198.51.100.5:4000"), w.node("cam", 3, "198.51.100.6:4000")
			before := viewer.register().Policy
			cam.register()
			c.change(w, viewer, cam)
			got := w.announced(viewer, cam)
			names := []string{}
			for _, name := range []string{"cam", "viewer"} {
				if v, ok := got[name]; ok {
					names = append(names, name)
					if v == before {
						t.Errorf("%s is told the version that it knew", name)
					}
				}
			}
			if fmt.Sprint(names) != c.told {
				t.Errorf("told %v, want %s", names, c.told)
			}
			w.now = w.now.Add(2 * announceAgain)
			if again := w.announced(viewer, cam); len(again) != 0 {
				t.Errorf("told again: %v", again)
			}
			if ack := viewer.register(); len(names) > 0 && ack.Policy != got["viewer"] || len(names) == 0 && ack.Policy != before {
				t.Error("the next keep-alive carries another version")
			}
		})
	}
}

func TestALocationIsWithdrawnWithItsDevice(t *testing.T) {
	w := newWorld(t)
	viewer, cam := w.node("viewer", 2, "198.51.100.5:4000"), w.node("cam", 3, "198.51.100.6:4000")
	viewer.register()
	cam.register()
	w.changed(cam, func(s *replica.Subject) { s.Disabled = true })
	w.announced(viewer)
	if list := w.core.Locations(w.now); len(list) != 1 || testutil.ToFloat64(w.core.metrics.withdrawn) != 1 {
		t.Errorf("locations %+v", list)
	}
	old := cam.counter
	w.changed(cam, func(s *replica.Subject) { s.Disabled = false })
	cam.counter = old - 1
	w.mustDrop("replayed registration", cam.src, cam.datagram(cam.registration()), dropReplay)
	cam.register()
}

func TestAnEarlierHolderOfANameIsDeniedToOthers(t *testing.T) {
	w := newWorld(t)
	viewer, cam := w.node("viewer", 2, "198.51.100.5:4000"), w.node("cam", 3, "198.51.100.6:4000")
	viewer.register()
	cam.register()
	w.contents.Enrolled = map[replica.Ref]replica.Enrolled{cam.subject.Ref: {UID: cam.subject.UID, Public: viewer.key.Public()}}
	w.publish()
	got := viewer.send(wire.DirectionRequest{RequestID: 7, Target: wire.Target{FQDN: cam.subject.FQDN}})
	if failure, ok := got[0].body.(wire.DirectionFailure); !ok || failure.Code != wire.FailureDenied {
		t.Errorf("answered by %+v", got[0].body)
	}
}

func TestChangesThatFollowEachOtherAreToldTogether(t *testing.T) {
	w := newWorld(t)
	viewer := w.node("viewer", 2, "198.51.100.5:4000")
	viewer.register()
	told := 0
	for n := range 20 {
		w.changed(viewer, func(s *replica.Subject) { s.Labels = map[string]string{"n": fmt.Sprint(n)} })
		told += len(w.announced(viewer))
		w.now = w.now.Add(announceInterval)
	}
	if told != 2 {
		t.Errorf("told %d times in 2 s", told)
	}
	w.now = w.now.Add(announceAgain)
	if got := w.announced(viewer)["viewer"]; got != w.snapshot.PolicyVersion("home") {
		t.Error("the last version is not told")
	}
}

func TestManyDevicesAreToldInBatches(t *testing.T) {
	w := newWorld(t)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	d.register()
	l := w.core.locations[d.subject.UID]
	for n := range announceBatch + 10 {
		c, s := *l, *d.subject
		s.UID, s.Name = fmt.Sprint("uid-", n), fmt.Sprint("viewer-", n)
		c.subject = &s
		c.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}), 1)
		w.contents.Subjects = append(w.contents.Subjects, &s)
		w.core.enter(s.UID, &c)
	}
	w.publish()
	if n := len(w.core.PolicyChanged(w.now, nil)); n != announceBatch {
		t.Errorf("%d at first", n)
	}
	if n := len(w.core.PolicyChanged(w.now.Add(announceInterval), nil)); n != 11 {
		t.Errorf("%d then", n)
	}
	if n := len(w.core.PolicyChanged(w.now.Add(time.Minute), nil)); n != 0 {
		t.Errorf("%d at last", n)
	}
}

func TestADirectionDoesNotOutliveItsPolicy(t *testing.T) {
	w := newWorld(t)
	viewer, cam := w.node("viewer", 2, "198.51.100.5:4000"), w.node("cam", 3, "198.51.100.6:4000")
	viewer.register()
	cam.register()
	request := wire.DirectionRequest{RequestID: 7, Target: wire.Target{FQDN: cam.subject.FQDN}}
	confirmation := viewer.send(request, cam)[0].body.(wire.Confirmation)
	w.contents.Policies = nil
	w.publish()
	accept := wire.ConfirmationResponse{DirectionID: confirmation.DirectionID, Accept: true}
	w.mustDrop("confirmation of a direction from before", cam.src, cam.datagram(accept), dropNoDirection)
	failure, ok := viewer.send(request, cam)[0].body.(wire.DirectionFailure)
	if !ok || failure.Code != wire.FailureDenied {
		t.Errorf("the repetition is answered by %+v", failure)
	}
}
