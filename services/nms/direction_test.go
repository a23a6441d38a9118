package nms

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// pair is viewer and cam1, registered; viewer may open TCP port 80 to cam1.
func pair(w *world, viewerSrc, camSrc string) (viewer, cam *device) {
	viewer, cam = w.node("viewer", 2, viewerSrc), w.node("cam1", 3, camSrc)
	viewer.register()
	cam.register()
	return viewer, cam
}

func toCam() wire.Target { return wire.Target{FQDN: "Cam1.home.example."} }

// direct runs a whole direction and returns what the two sides are told.
func direct(t *testing.T, viewer, cam *device, request wire.DirectionRequest) (atViewer, atCam wire.RouteDirection) {
	t.Helper()
	got := viewer.send(request, cam)
	if len(got) != 1 || got[0].to != cam.src {
		t.Fatalf("a request is followed by %+v", got)
	}
	confirmation, ok := got[0].body.(wire.Confirmation)
	if !ok || confirmation.Echo != cam.echo {
		t.Fatalf("the responder gets %+v", got[0].body)
	}
	return confirm(t, viewer, cam, wire.ConfirmationResponse{DirectionID: confirmation.DirectionID, Accept: true, Candidates: cam.candidates})
}

func confirm(t *testing.T, viewer, cam *device, answer wire.ConfirmationResponse) (atViewer, atCam wire.RouteDirection) {
	t.Helper()
	got := cam.send(answer, viewer)
	if len(got) != 2 || got[0].to != cam.src || got[1].to != viewer.src {
		t.Fatalf("a confirmation is followed by %+v", got)
	}
	return got[1].body.(wire.RouteDirection), got[0].body.(wire.RouteDirection)
}

func TestRouteKinds(t *testing.T) {
	const v4a, v4b, v6a, v6b = "198.51.100.5:4000", "203.0.113.6:4000", "[2001:db8::5]:4000", "[2001:db8::6]:4000"
	cases := []struct {
		name           string
		viewer, cam    string
		viewerOwn      []string // instead of the source address
		camOwn         []string
		relayWanted    bool
		kind           wire.RouteKind
		camsCandidates string // as the viewer gets them
	}{
		{"both public", v4a, v4b, nil, nil, false, wire.RouteDirect, "[203.0.113.6:4000]"},
		{"relay wanted", v4a, v4b, nil, nil, true, wire.RouteRelayed, "[203.0.113.6:4000]"},
		{"viewer behind NAT", v4a, v4b, []string{"10.0.0.2:1"}, nil, false, wire.RoutePunched, "[203.0.113.6:4000]"},
		{"cam behind NAT", v4a, v4b, nil, []string{"192.168.0.2:1"}, false, wire.RoutePunched, "[203.0.113.6:4000 192.168.0.2:1]"},
		{"same NAT", v4a, "198.51.100.5:4001", []string{"192.168.0.3:1"}, []string{"192.168.0.2:1"}, false, wire.RoutePunched, "[192.168.0.2:1 198.51.100.5:4001]"},
		{"v4-only and v6-only", v4a, v6b, nil, nil, false, wire.RouteRelayed, "[[2001:db8::6]:4000]"},
		{"both v6", v6a, v6b, nil, nil, false, wire.RouteDirect, "[[2001:db8::6]:4000]"},
		{"dual stack meets v6-only", v4a, v6b, []string{v4a, v6a}, nil, false, wire.RouteDirect, "[[2001:db8::6]:4000]"},
		{
			"dual stack is seen over v4 first", v4a, v4b, nil,
			[]string{v6b, v4b, "10.9.9.9:1"},
			false, wire.RouteDirect,
			"[203.0.113.6:4000 10.9.9.9:1 [2001:db8::6]:4000]",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			viewer, cam := w.node("viewer", 2, c.viewer), w.node("cam1", 3, c.cam)
			for d, own := range map[*device][]string{viewer: c.viewerOwn, cam: c.camOwn} {
				if own != nil {
					d.candidates = nil
				}
				for _, text := range own {
					d.candidates = append(d.candidates, netip.MustParseAddrPort(text))
				}
				d.register()
			}
			request := wire.DirectionRequest{RequestID: 77, Target: toCam()}
			if c.relayWanted {
				request.Flags = wire.DirectionRelayWanted
			}
			atViewer, atCam := direct(t, viewer, cam, request)
			if atViewer.Kind != c.kind || atCam.Kind != c.kind {
				t.Errorf("kinds %v and %v, want %v", atViewer.Kind, atCam.Kind, c.kind)
			}
			if got := fmt.Sprint(atViewer.Direction.Candidates); got != c.camsCandidates {
				t.Errorf("candidates %s, want %s", got, c.camsCandidates)
			}
		})
	}
}

func TestBothSidesAreToldWhatTheyNeed(t *testing.T) {
	w := newWorld(t)
	viewer, cam := pair(w, "198.51.100.5:4000", "203.0.113.6:4000")
	atViewer, atCam := direct(t, viewer, cam, wire.DirectionRequest{RequestID: 77, Target: wire.Target{Addr: cam.subject.IPv6}})

	if atViewer.Echo != 77 || !atViewer.Initiator || atCam.Echo != cam.echo || atCam.Initiator || atViewer.DirectionID != atCam.DirectionID {
		t.Errorf("envelopes %+v and %+v", atViewer, atCam)
	}
	ignoreRelay := cmpopts.IgnoreFields(wire.Direction{}, "Relay")
	want := wire.Direction{
		PeerCertificate: cam.certificate, PeerTag: cam.tag, Candidates: []netip.AddrPort{cam.src}, TTL: 43200,
		Rules: []wire.Rule{{Protocol: 6, PortLow: 80, PortHigh: 80}},
	}
	if diff := cmp.Diff(want, atViewer.Direction, ignoreRelay, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("at the viewer (-want +got):\n%s", diff)
	}
	want = wire.Direction{
		PeerCertificate: viewer.certificate, PeerTag: viewer.tag, Candidates: []netip.AddrPort{viewer.src}, TTL: 43200,
		Rules: []wire.Rule{{Inbound: true, Protocol: 6, PortLow: 80, PortHigh: 80}},
	}
	if diff := cmp.Diff(want, atCam.Direction, ignoreRelay, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("at the camera (-want +got):\n%s", diff)
	}
	checkRelays(t, w, atViewer.Direction.Relay, atCam.Direction.Relay)

	// The other direction of the pair leads to the same relay session.
	w.contents.Policies[0].Spec.From = append(w.contents.Policies[0].Spec.From, w.contents.Policies[0].Spec.To...)
	w.publish()
	back, _ := direct(t, cam, viewer, wire.DirectionRequest{RequestID: 1, Target: wire.Target{Addr: viewer.subject.IPv4}})
	a, b := openRelay(t, w, atCam.Direction.Relay), openRelay(t, w, back.Direction.Relay)
	if a.Session != b.Session || a.Side != b.Side || a.BindKey == b.BindKey {
		t.Error("the two directions of a pair do not share their relay session")
	}
}

func openRelay(t *testing.T, w *world, r wire.Relay) *identity.RelayToken {
	t.Helper()
	token, err := identity.OpenRelayToken(w.contents.Relay, r.Token, w.now)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func checkRelays(t *testing.T, w *world, a, b wire.Relay) {
	t.Helper()
	one, two := openRelay(t, w, a), openRelay(t, w, b)
	if one.Session != two.Session || one.Side == two.Side || one.Side > 1 || two.Side > 1 || one.Network != "home" {
		t.Errorf("relay tokens %+v and %+v", one, two)
	}
	if one.BindKey != a.BindKey || two.BindKey != b.BindKey || a.BindKey == b.BindKey {
		t.Error("bind keys do not fit")
	}
	if a.IPv4 != w.contents.Services["trs"][0].IPv4 || a.IPv6 != w.contents.Services["trs"][0].IPv6 || a.IPv4 != b.IPv4 || a.IPv6 != b.IPv6 {
		t.Error("relay addresses do not fit")
	}
}

func TestRetransmissionsRepeatTheStep(t *testing.T) {
	w := newWorld(t)
	viewer, cam := pair(w, "198.51.100.5:4000", "203.0.113.6:4000")
	request := wire.DirectionRequest{RequestID: 77, Target: toCam()}
	var id uint64
	for i := range 3 {
		c := viewer.send(request, cam)[0].body.(wire.Confirmation)
		if i > 0 && c.DirectionID != id {
			t.Error("a repeated request makes another direction")
		}
		id = c.DirectionID
	}
	answer := wire.ConfirmationResponse{DirectionID: id, Accept: true}
	first, _ := confirm(t, viewer, cam, answer)
	again, _ := confirm(t, viewer, cam, answer)
	if diff := cmp.Diff(first, again, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("a repeated confirmation leads to another direction:\n%s", diff)
	}
	got := viewer.send(request, cam) // the route direction was lost
	if len(got) != 2 {
		t.Fatalf("a repeated request after the direction is followed by %+v", got)
	}
	if diff := cmp.Diff(first, got[1].body.(wire.RouteDirection), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("a repeated request leads to another direction:\n%s", diff)
	}
	if len(w.core.directions) != 1 || len(w.core.byID) != 1 {
		t.Errorf("%d directions are kept", len(w.core.directions))
	}
	w.now = w.now.Add(directionTTL)
	w.core.Expire(w.now)
	if len(w.core.directions)+len(w.core.byID) != 0 || w.core.locations[viewer.subject.UID].directions != 0 {
		t.Error("an ended direction stays")
	}
	w.mustDrop("a confirmation of an ended direction", cam.src, cam.datagram(answer), dropNoDirection)
}

func TestDirectionFailures(t *testing.T) {
	cases := []struct {
		name    string
		prepare func(w *world, viewer, cam *device)
		target  wire.Target
		code    wire.FailureCode
	}{
		{"unknown name", nil, wire.Target{FQDN: "cam9.home.example"}, wire.FailureUnknown},
		{"unknown address", nil, wire.Target{Addr: netip.MustParseAddr("10.64.0.99")}, wire.FailureUnknown},
		{"itself", nil, wire.Target{FQDN: "viewer.home.example"}, wire.FailureUnknown},
		{"in another network", func(w *world, _, cam *device) {
			changed := *cam.subject
			changed.Network = "work"
			w.contents.Subjects[1] = &changed
			w.publish()
		}, toCam(), wire.FailureUnknown},
		{"no policy", func(w *world, _, _ *device) { w.contents.Policies = nil; w.publish() }, toCam(), wire.FailureDenied},
		{"no policy for an offline device", func(w *world, _, cam *device) {
			w.contents.Policies = nil
			w.publish()
			cam.send(wire.Logout{})
		}, toCam(), wire.FailureDenied},
		{"minimum assurance", func(w *world, viewer, cam *device) {
			w.contents.Policies[0].Spec.From, w.contents.Policies[0].Spec.MinimumAssurance = w.contents.Policies[0].Spec.To, "basic"
			w.contents.Policies[0].Spec.To = nil
			w.publish()
		}, toCam(), wire.FailureDenied},
		{"never registered", func(w *world, _, cam *device) { w.core.remove(w.core.locations[cam.subject.UID]) }, toCam(), wire.FailureOffline},
		{"logged out", func(_ *world, _, cam *device) { cam.send(wire.Logout{}) }, toCam(), wire.FailureOffline},
		{"silent for too long", func(w *world, viewer, _ *device) {
			w.now = w.now.Add(60 * time.Second)
			viewer.register()
			w.now = w.now.Add(30 * time.Second)
		}, toCam(), wire.FailureOffline},
		{"no relay where one is needed", func(w *world, _, cam *device) {
			w.contents.Services = nil
			w.publish()
			cam.src = netip.MustParseAddrPort("[2001:db8::6]:4000")
			cam.candidates = nil
			cam.register()
		}, toCam(), wire.FailureInternal},
		{"too many requests", func(w *world, viewer, _ *device) {
			w.core.locations[viewer.subject.UID].requests.AllowN(w.now, requestBurst)
		}, toCam(), wire.FailureBusy},
		{"too many directions of the device", func(w *world, viewer, _ *device) {
			w.core.locations[viewer.subject.UID].directions = maxDirectionsPerDevice
		}, toCam(), wire.FailureBusy},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			viewer, cam := pair(w, "198.51.100.5:4000", "203.0.113.6:4000")
			if c.prepare != nil {
				c.prepare(w, viewer, cam)
			}
			got := viewer.send(wire.DirectionRequest{RequestID: 5, Target: c.target}, cam)
			if len(got) != 1 || got[0].to != viewer.src {
				t.Fatalf("answers %+v", got)
			}
			if f, ok := got[0].body.(wire.DirectionFailure); !ok || f.Code != c.code || f.RequestID != 5 {
				t.Errorf("answer %+v, want code %v", got[0].body, c.code)
			}
			if len(w.core.directions) != 0 {
				t.Error("a failed request leaves a direction")
			}
		})
	}
}

func TestAResponderMayReject(t *testing.T) {
	w := newWorld(t)
	viewer, cam := pair(w, "198.51.100.5:4000", "203.0.113.6:4000")
	request := wire.DirectionRequest{RequestID: 5, Target: toCam()}
	id := viewer.send(request, cam)[0].body.(wire.Confirmation).DirectionID
	for i := range 2 {
		var got []message
		if i == 0 {
			got = cam.send(wire.ConfirmationResponse{DirectionID: id}, viewer)
		} else {
			got = viewer.send(request, cam)
		}
		if f, ok := got[0].body.(wire.DirectionFailure); len(got) != 1 || !ok || f.Code != wire.FailureRejected || got[0].to != viewer.src {
			t.Errorf("step %d: %+v", i, got)
		}
	}
	w.mustDrop("a change of mind", cam.src, cam.datagram(wire.ConfirmationResponse{DirectionID: id, Accept: true}), dropNoDirection)
}

func TestOnlyTheResponderConfirms(t *testing.T) {
	w := newWorld(t)
	viewer, cam := pair(w, "198.51.100.5:4000", "203.0.113.6:4000")
	third := w.node("cam2", 4, "192.0.2.4:4000")
	third.register()
	id := viewer.send(wire.DirectionRequest{RequestID: 5, Target: toCam()}, cam)[0].body.(wire.Confirmation).DirectionID
	answer := wire.ConfirmationResponse{DirectionID: id, Accept: true}
	w.mustDrop("a third device", third.src, third.datagram(answer), dropNoDirection)
	w.mustDrop("the initiator itself", viewer.src, viewer.datagram(answer), dropNoDirection)
	answer.DirectionID++
	w.mustDrop("another direction", cam.src, cam.datagram(answer), dropNoDirection)
}

// A device that is not registered here, because the service was restarted, is
// told to try again after its registration.
func TestAfterARestartDevicesAreToldToRegister(t *testing.T) {
	w := newWorld(t)
	viewer, cam := w.node("viewer", 2, "198.51.100.5:4000"), w.node("cam1", 3, "203.0.113.6:4000")
	request := wire.DirectionRequest{RequestID: 5, Target: toCam()}
	challenge, ok := viewer.send(request)[0].body.(wire.Challenge)
	if !ok || challenge.Echo != 5 {
		t.Fatalf("challenge %+v", challenge)
	}
	viewer.cookie = challenge.Cookie
	if f, ok := viewer.send(request)[0].body.(wire.DirectionFailure); !ok || f.Code != wire.FailureBusy {
		t.Errorf("before the registration: %+v", f)
	}
	viewer.register()
	cam.register()
	direct(t, viewer, cam, request)
}

func TestAGeneralNodeIsHandedOutLikeANode(t *testing.T) {
	w := newWorld(t)
	viewer := w.node("viewer", 2, "198.51.100.5:4000")
	viewer.register()
	w.addSubject(keyspace.Adapters, "gate", 0)
	s := w.addSubject(keyspace.GeneralNodes, "cam1", 3)
	s.Adapter, s.Assurance = "gate", identity.AssuranceMAC
	cam := w.login(s)
	cam.src, cam.tag = netip.MustParseAddrPort("203.0.113.6:4000"), 3
	cam.register()
	direct(t, viewer, cam, wire.DirectionRequest{RequestID: 5, Target: toCam()})
}

func FuzzHandleDatagram(f *testing.F) {
	w := newWorld(f)
	d, cam := w.node("viewer", 2, "198.51.100.5:4000"), w.node("cam1", 3, "203.0.113.6:4000")
	d.register()
	cam.register()
	f.Add([]byte{}, false)
	f.Add(d.datagram(d.registration()), false)
	f.Add(wire.DirectionRequest{RequestID: 1, Target: toCam()}.AppendBody(nil), true)
	f.Add(wire.ConfirmationResponse{DirectionID: 1, Accept: true, Candidates: d.candidates}.AppendBody(nil), true)
	f.Add(wire.Logout{Echo: 1}.AppendBody(nil), true)
	f.Add(d.registration().AppendBody(nil), true)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed && len(b) > 800 {
			return
		}
		if sealed { // what a device with a ticket can do
			d.counter++
			b = d.keys.SealSignal(nil, d.tag, d.counter, d.cookie, d.sealed, b)
		}
		w.now = w.now.Add(time.Millisecond)
		for _, datagram := range w.handle(d.src, b) {
			if len(datagram.Data) > wire.MaxDatagram || !datagram.To.IsValid() {
				t.Fatalf("%d bytes to %v", len(datagram.Data), datagram.To)
			}
		}
		w.core.Expire(w.now)
	})
}

func BenchmarkKeepAlive(b *testing.B) {
	w := newWorld(b)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	d.register()
	body := d.registration().AppendBody(nil)
	out := make([]Datagram, 0, 4)
	b.ReportAllocs()
	for b.Loop() {
		d.counter++
		datagram := d.keys.SealSignal(nil, d.tag, d.counter, d.cookie, d.sealed, body)
		if out = w.core.HandleDatagram(w.now, d.src, datagram, out[:0]); len(out) != 1 {
			b.Fatal("no answer")
		}
	}
}
