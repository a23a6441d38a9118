package nms

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

func TestRegistrationShowsTheObservedAddress(t *testing.T) {
	cases := []struct {
		name       string
		src        string
		candidates []string
		nated      bool
		kept       string // candidates that remain
	}{
		{"no NAT", "198.51.100.5:4000", []string{"198.51.100.5:4000"}, false, "[198.51.100.5:4000]"},
		{"behind NAT", "198.51.100.5:4000", []string{"192.168.1.2:4500", "192.168.1.2:4500"}, true, "[192.168.1.2:4500]"},
		{"NAT keeps the address, not the port", "198.51.100.5:4000", []string{"198.51.100.5:4001"}, true, "[198.51.100.5:4001]"},
		{"IPv6", "[2001:db8::5]:4000", []string{"[2001:db8::5]:4000"}, false, "[[2001:db8::5]:4000]"},
		{
			"special and virtual addresses are no candidates", "198.51.100.5:4000",
			[]string{"127.0.0.1:1", "224.0.0.1:1", "169.254.1.1:1", "[fe80::1]:1", "10.64.0.9:1", "[fd00:64::9]:1", "0.0.0.0:1"},
			true, "[]",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			d := w.node("viewer", 2, c.src)
			d.candidates = nil
			for _, text := range c.candidates {
				d.candidates = append(d.candidates, netip.MustParseAddrPort(text))
			}
			ack := d.register()
			if ack.Observed != d.src || ack.NATed != c.nated || ack.TTL != 90 || ack.Keepalive != 25 {
				t.Errorf("acknowledgement %+v", ack)
			}
			list := w.core.Locations(w.now)
			if len(list) != 1 || list[0].Observed != d.src || list[0].FQDN != d.subject.FQDN || list[0].NATed != c.nated {
				t.Fatalf("locations %+v", list)
			}
			if got := fmt.Sprint(list[0].Candidates); got != c.kept {
				t.Errorf("candidates %s, want %s", got, c.kept)
			}
		})
	}
}

func TestANewSourceAddressTakesEffectOnlyWithItsCookie(t *testing.T) {
	w := newWorld(t)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	first := d.src
	request := d.datagram(d.registration())
	out := w.handle(first, request)
	if len(w.core.locations) != 0 {
		t.Fatal("a challenged registration left a location")
	}
	if len(out) != 1 || len(out[0].Data) > len(request) {
		t.Fatalf("%d answers to a first registration", len(out))
	}
	d.register()

	d.src = netip.MustParseAddrPort("192.0.2.9:1")
	d.cookie[0] ^= 1
	if _, ok := d.send(d.registration())[0].body.(wire.Challenge); !ok {
		t.Error("a wrong cookie is accepted")
	}
	d.cookie[0] ^= 1 // that of the first address
	if _, ok := d.send(d.registration())[0].body.(wire.Challenge); !ok {
		t.Error("the cookie of another address is accepted")
	}
	if got := w.core.Locations(w.now)[0].Observed; got != first {
		t.Errorf("the location moved to %v without a cookie", got)
	}
	if ack := d.register(); ack.Observed != d.src {
		t.Errorf("observed %v after the move", ack.Observed)
	}
	w.now = w.now.Add(cookieTTL + time.Second)
	d.src = netip.MustParseAddrPort("192.0.2.9:2")
	if _, ok := d.send(d.registration())[0].body.(wire.Challenge); !ok {
		t.Error("an old cookie is accepted")
	}
}

func TestKeepAliveNeedsNoChallengeAndLocationsEnd(t *testing.T) {
	w := newWorld(t)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	d.register()
	d.cookie = [16]byte{}
	for range 10 {
		w.now = w.now.Add(25 * time.Second)
		w.core.Expire(w.now)
		if _, ok := d.send(d.registration())[0].body.(wire.RegistrationAck); !ok {
			t.Fatal("a keep-alive is not acknowledged at once")
		}
	}
	w.now = w.now.Add(locationTTL)
	if len(w.core.Locations(w.now)) != 0 {
		t.Error("a location is shown after its end")
	}
	w.core.Expire(w.now)
	if len(w.core.locations) != 0 {
		t.Error("a location stays after its end")
	}
}

func TestReplaysChangeNothing(t *testing.T) {
	w := newWorld(t)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	d.register()
	old := d.datagram(d.registration())
	w.handle(d.src, old)
	w.mustDrop("the same datagram", d.src, old, dropReplay)
	w.mustDrop("the same datagram from elsewhere", netip.MustParseAddrPort("192.0.2.66:6"), old, dropReplay)

	d.counter += 2 * replayBits
	skipped := d.datagram(d.registration()) // delivered late
	late := d.counter
	w.handle(d.src, d.datagram(d.registration()))
	if len(w.handle(d.src, skipped)) != 1 {
		t.Error("a reordered datagram is refused")
	}
	w.mustDrop("a reordered datagram twice", d.src, skipped, dropReplay)
	d.counter = late - replayBits - 5
	w.mustDrop("a counter before the window", d.src, d.datagram(d.registration()), dropReplay)

	// After a logout the captured registration of a moment ago is of no use.
	d.counter = late + 10
	captured := d.datagram(d.registration())
	w.handle(d.src, captured)
	if got := d.send(wire.Logout{Echo: 1}); len(got) != 0 {
		t.Errorf("a logout is answered with %v", got)
	}
	if len(w.core.Locations(w.now)) != 0 {
		t.Error("the location stays after a logout")
	}
	w.mustDrop("a registration replayed after the logout", d.src, captured, dropReplay)
}

// Somebody on the path keeps a registration back and lets it go when the device is elsewhere.
func TestARegistrationHeldBackDoesNotMoveTheDeviceBack(t *testing.T) {
	w := newWorld(t)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	d.register()
	before := d.src
	held := d.datagram(d.registration()) // with the cookie for the old address
	d.src = netip.MustParseAddrPort("203.0.113.77:5")
	d.register()
	w.mustDrop("the old registration", before, held, dropReplay)
	if list := w.core.Locations(w.now); len(list) != 1 || list[0].Observed != d.src {
		t.Errorf("locations %+v", list)
	}
}

func TestReplayWindowAgainstAModel(t *testing.T) {
	var w replayWindow
	seen := make(map[uint64]bool)
	top := uint64(0)
	state := uint64(88172645463325252)
	for i := range 200_000 {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		c := top + state%300
		if back := state >> 32 % 400; i%2 == 0 && back < top {
			c = top - back
		}
		want := !seen[c] && (top < replayBits || c > top-replayBits)
		if w.used && w.fresh(c) != want {
			t.Fatalf("step %d: fresh(%d) is %v with top %d", i, c, !want, top)
		}
		if w.fresh(c) {
			w.mark(c)
			seen[c] = true
			top = max(top, c)
		}
	}
}

func TestForgedDatagramsAreDroppedAndCounted(t *testing.T) {
	w := newWorld(t)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	good := d.datagram(d.registration())
	edit := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), good...)) }
	flip := func(i int) []byte {
		return edit(func(b []byte) []byte { b[(i+len(b))%len(b)] ^= 1; return b })
	}
	cases := []struct {
		name   string
		b      []byte
		reason dropReason
	}{
		{"empty", nil, dropMalformed},
		{"one byte", []byte{0x10}, dropMalformed},
		{"another version", edit(func(b []byte) []byte { b[1] = 0x20; return b }), dropVersion},
		{"another type", edit(func(b []byte) []byte { b[0] = byte(wire.TypeRelayBind); return b }), dropType},
		{"unknown type", edit(func(b []byte) []byte { b[0] = 0xee; return b }), dropType},
		{"header only", good[:32], dropMalformed},
		{"truncated", good[:len(good)-1], dropAuthentication},
		{"flipped tag of the body", flip(-1), dropAuthentication},
		{"flipped counter", flip(10), dropAuthentication},
		{"flipped cookie", flip(20), dropAuthentication},
		{"flipped receiver tag", flip(5), dropAuthentication},
		{"flipped ticket", flip(60), dropTicket},
	}
	for _, c := range cases {
		w.mustDrop(c.name, d.src, c.b, c.reason)
	}
	d.seal(identity.Keyring{Current: identity.SealingKey{ID: 1, Key: [32]byte{9}}})
	w.mustDrop("ticket of a forger", d.src, d.datagram(d.registration()), dropTicket)
	d.ticket.NotAfter = w.now.Add(-time.Second)
	d.seal(w.contents.Ticket)
	w.mustDrop("expired ticket", d.src, d.datagram(d.registration()), dropTicket)
	d.relogin()
	w.mustDrop("a body that only the NMS sends", d.src, d.datagram(wire.RegistrationAck{Observed: d.src}), dropUnexpected)
	broken := d.keys.SealSignal(nil, d.tag, d.counter+1, d.cookie, d.sealed, []byte{0xff})
	w.mustDrop("a body that cannot be read", d.src, broken, dropBody)
}

func TestTheDesiredStateWins(t *testing.T) {
	cases := []struct {
		name   string
		change func(w *world, s *replica.Subject)
		reason dropReason
	}{
		{"deleted", func(w *world, s *replica.Subject) { w.contents.Subjects = nil }, dropUnknownSubject},
		{"deleted and created again", func(w *world, s *replica.Subject) { s.UID = "uid-new" }, dropUnknownSubject},
		{"disabled", func(w *world, s *replica.Subject) { s.Disabled = true }, dropDisabled},
		{"another address", func(w *world, s *replica.Subject) { s.IPv4 = s.IPv4.Next() }, dropMismatch},
		{"no IPv6 address", func(w *world, s *replica.Subject) { s.IPv6 = netip.Addr{} }, dropMismatch},
		{"another name", func(w *world, s *replica.Subject) { s.FQDN = "x.home.example" }, dropMismatch},
		{"another network", func(w *world, s *replica.Subject) { s.Network = "work" }, dropMismatch},
		{"better authentication demanded", func(w *world, s *replica.Subject) { s.Assurance = identity.AssuranceKey + 1 }, dropAssurance},
		{"another key enrolled", func(w *world, s *replica.Subject) {
			w.contents.Enrolled[s.Ref] = replica.Enrolled{UID: s.UID, Public: identity.DevicePublic{Static: [32]byte{1}}}
		}, dropSuperseded},
		{"carried by an adapter that it did not log in through", func(w *world, s *replica.Subject) { s.Adapter = "gate" }, dropAdapter},
		{"adapter gone", func(w *world, s *replica.Subject) { s.Plural, s.Adapter = keyspace.GeneralNodes, "gone" }, dropDisabled},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			viewer, cam := w.node("viewer", 2, "198.51.100.5:4000"), w.node("cam1", 3, "198.51.100.6:4000")
			viewer.register()
			cam.register()
			changed := *cam.subject
			c.change(w, &changed)
			if len(w.contents.Subjects) > 0 {
				w.contents.Subjects = []*replica.Subject{viewer.subject, &changed}
			} else {
				w.contents.Subjects = []*replica.Subject{viewer.subject}
			}
			w.publish()
			w.mustDrop(c.name, cam.src, cam.datagram(cam.registration()), c.reason)
			// Nor is it handed out to others any more.
			for _, target := range []wire.Target{{FQDN: "cam1.home.example"}, {Addr: cam.subject.IPv4}} {
				got := viewer.send(wire.DirectionRequest{RequestID: 1, Target: target}, cam)
				if _, ok := got[0].body.(wire.DirectionFailure); !ok {
					t.Errorf("%v is handed out: %T", target, got[0].body)
				}
			}
		})
	}
}

func TestTheLaterLoginWins(t *testing.T) {
	w := newWorld(t)
	first := w.node("viewer", 2, "198.51.100.5:4000")
	first.register()
	captured := first.datagram(first.registration())

	w.now = w.now.Add(time.Second)
	oldTicket, oldKeys := first.sealed, first.keys
	first.relogin()
	first.register()
	// The old ticket of the same device still works while it is on the way,
	// counters apart.
	if len(w.handle(first.src, captured)) != 1 {
		t.Error("a datagram under the last ticket of the device is refused")
	}
	w.mustDrop("and again", first.src, captured, dropReplay)

	// Another device logs in as the same subject.
	w.now = w.now.Add(time.Second)
	second := w.login(first.subject)
	second.src, second.tag = netip.MustParseAddrPort("203.0.113.77:5"), 99
	second.register()
	w.mustDrop("the earlier device", first.src, first.datagram(first.registration()), dropSuperseded)
	first.sealed, first.keys = oldTicket, oldKeys
	w.mustDrop("the earlier device with its older ticket", first.src, first.datagram(first.registration()), dropSuperseded)
	if list := w.core.Locations(w.now); len(list) != 1 || list[0].Observed != second.src {
		t.Errorf("locations %+v", list)
	}

	// A ticket that fell out of memory is refused, whatever its counters.
	third := second.sealed
	thirdKeys := second.keys
	for range maxLogins {
		w.now = w.now.Add(time.Second)
		second.relogin()
		second.register()
	}
	second.sealed, second.keys = third, thirdKeys
	second.counter += 1 << 30
	w.mustDrop("a forgotten ticket", second.src, second.datagram(second.registration()), dropSuperseded)
}

func TestACertificateMustBeTheTickets(t *testing.T) {
	w := newWorld(t)
	d, other := w.node("viewer", 2, "198.51.100.5:4000"), w.node("cam1", 3, "198.51.100.6:4000")
	d.send(d.registration())
	for name, certificate := range map[string][]byte{
		"none": nil, "garbage": {1, 2, 3}, "another device's": other.certificate, "truncated": d.certificate[:len(d.certificate)-1],
	} {
		w.core.metrics.drops.Reset()
		body := d.registration()
		body.Certificate = certificate
		d.cookie = w.core.cookies.make(w.contents.Ticket, d.ticket.NodeID, d.src, w.now)
		w.mustDrop(name, d.src, d.datagram(body), dropCertificate)
	}
}

func TestAFullTableRefusesNewDevicesOnly(t *testing.T) {
	w := newWorld(t)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	d.register()
	for i := range maxLocations - 1 {
		w.core.enter(fmt.Sprint(i), &location{contact: contact{subject: d.subject, lastSeen: w.now}})
	}
	other := w.node("cam1", 3, "198.51.100.6:4000")
	other.cookie = w.core.cookies.make(w.contents.Ticket, other.ticket.NodeID, other.src, w.now)
	w.mustDrop("a new device", other.src, other.datagram(other.registration()), dropTableFull)
	d.register()
}

// TestUnauthenticatedInputGetsLittleAndLeavesNothing measures, for each kind of
// input that an attacker without a ticket can make, including captured
// datagrams from a false source, what comes back and what stays.
func TestUnauthenticatedInputGetsLittleAndLeavesNothing(t *testing.T) {
	w := newWorld(t)
	d := w.node("viewer", 2, "198.51.100.5:4000")
	victim := netip.MustParseAddrPort("192.0.2.1:53")
	garbage := make([]byte, wire.MaxDatagram)
	if _, err := rand.Read(garbage); err != nil {
		t.Fatal(err)
	}
	header := append([]byte{byte(wire.TypeSignal), wire.Version << 4, 0, 200}, garbage[:600]...)
	inputs := map[string]func() []byte{
		"nothing":               func() []byte { return nil },
		"garbage":               func() []byte { return garbage },
		"garbage with header":   func() []byte { return header },
		"captured registration": func() []byte { return d.datagram(d.registration()) },
		"captured registration without padding": func() []byte {
			d.counter++
			return d.keys.SealSignal(nil, d.tag, d.counter, d.cookie, d.sealed, wire.Registration{Echo: 1, Certificate: d.certificate}.AppendBody(nil))
		},
		"captured request without padding": func() []byte {
			d.counter++
			return d.keys.SealSignal(nil, d.tag, d.counter, d.cookie, d.sealed,
				wire.DirectionRequest{RequestID: 1, Target: wire.Target{FQDN: "a"}}.AppendBody(nil))
		},
		"captured logout without padding": func() []byte {
			d.counter++
			return d.keys.SealSignal(nil, d.tag, d.counter, d.cookie, d.sealed, wire.Logout{Echo: 1}.AppendBody(nil))
		},
	}
	for name, input := range inputs {
		in, out := 0, 0
		for range 100 {
			b := input()
			in += len(b)
			for _, datagram := range w.handle(victim, b) {
				out += len(datagram.Data)
				if len(datagram.Data) > len(b) {
					t.Errorf("%s: %d bytes are answered with %d", name, len(b), len(datagram.Data))
				}
			}
		}
		t.Logf("%s: %d bytes in, %d bytes out", name, in, out)
		if len(w.core.locations)+len(w.core.directions)+len(w.core.byID) != 0 {
			t.Fatalf("%s: state stays", name)
		}
	}
}
