package nms

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// world is an NMS core with a desired state that tests change, and devices.
type world struct {
	t        testing.TB
	core     *Core
	contents replica.Contents
	snapshot *replica.Snapshot
	now      time.Time
	issuer   *identity.Issuer
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, now: time.Unix(1_800_000_000, 0)}
	root, err := identity.NewRootKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.NewIssuerKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := root.IssueIssuer(key.Public().(ed25519.PublicKey), w.now.Add(-time.Hour), w.now.Add(1000*time.Hour))
	if w.issuer, err = identity.NewIssuer(key, certificate); err != nil {
		t.Fatal(err)
	}
	all := []api.Selector{{}}
	w.contents = replica.Contents{
		Revision: 1,
		Networks: []*replica.Network{{
			Name: "home", Domain: "home.example",
			IPv4Prefix: netip.MustParsePrefix("10.64.0.0/24"), IPv6Prefix: netip.MustParsePrefix("fd00:64::/64"),
		}},
		Services: map[string][]replica.Service{
			"trs": {{Name: "trs", IPv4: netip.MustParseAddrPort("203.0.113.1:7443"), IPv6: netip.MustParseAddrPort("[2001:db8::1]:7443")}},
		},
		Policies: []*api.AccessPolicy{{
			Metadata: api.ObjectMeta{Name: "web"},
			Spec: api.AccessPolicySpec{
				Network: "home", From: []api.Selector{{Names: []string{"viewer"}}}, To: all,
				Rules: []api.PolicyRule{{Protocol: "tcp", Ports: []string{"80"}}},
			},
		}},
		Enrolled: map[replica.Ref]replica.Enrolled{},
		Ticket:   identity.Keyring{Current: identity.SealingKey{ID: 1, Key: [32]byte{1}}},
		Relay:    identity.Keyring{Current: identity.SealingKey{ID: 2, Key: [32]byte{2}}},
	}
	w.publish()
	w.core, err = NewCore(CoreOptions{
		Snapshot: func() *replica.Snapshot { return w.snapshot }, Rand: rand.Reader,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// publish makes the changed contents the desired state.
func (w *world) publish() {
	w.t.Helper()
	s, errs := replica.NewSnapshot(w.contents)
	if len(errs) > 0 {
		w.t.Fatal(errs)
	}
	w.snapshot = s
}

// device is a node or general node with a login.
type device struct {
	w           *world
	subject     *replica.Subject
	key         *identity.DeviceKey
	certificate []byte
	ticket      identity.Ticket
	sealed      []byte
	keys        identity.SignalKeys
	tag         uint32
	counter     uint64
	src         netip.AddrPort
	candidates  []netip.AddrPort
	cookie      [16]byte
	echo        uint64
}

// addSubject puts a device into the desired state. n makes its addresses.
func (w *world) addSubject(plural, name string, n byte) *replica.Subject {
	s := &replica.Subject{
		Ref: replica.Ref{Plural: plural, Name: name}, UID: "uid-" + name, Network: "home", FQDN: name + ".home.example",
		IPv4: netip.AddrFrom4([4]byte{10, 64, 0, n}), IPv6: netip.MustParseAddr("fd00:64::").Next(),
	}
	v6 := s.IPv6.As16()
	v6[15] = n
	s.IPv6 = netip.AddrFrom16(v6)
	w.contents.Subjects = append(w.contents.Subjects, s)
	w.publish()
	return s
}

// node adds a node at src that knows src as its own address (no NAT).
func (w *world) node(name string, n byte, src string) *device {
	w.t.Helper()
	d := w.login(w.addSubject(keyspace.Nodes, name, n))
	d.src = netip.MustParseAddrPort(src)
	d.candidates = []netip.AddrPort{d.src}
	d.tag = uint32(n)<<16 | 7
	return d
}

// login makes a key, a certificate and a ticket for a subject.
func (w *world) login(s *replica.Subject) *device {
	w.t.Helper()
	key, err := identity.NewDeviceKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	d := &device{w: w, subject: s, key: key, counter: uint64(w.now.Unix()) << 24}
	d.relogin()
	return d
}

// relogin gets a new ticket and certificate for the same key.
func (d *device) relogin() {
	d.w.t.Helper()
	s, public := d.subject, d.key.Public()
	assurance := identity.AssuranceKey
	if s.Plural == keyspace.GeneralNodes {
		assurance = identity.AssuranceMAC
	}
	notAfter := d.w.now.Add(24 * time.Hour)
	certificate, err := d.w.issuer.Issue(identity.Certificate{
		Public: public, FQDN: s.FQDN, VirtualIPv4: s.IPv4, VirtualIPv6: s.IPv6, Network: s.Network,
		Assurance: assurance, NotBefore: d.w.now, NotAfter: notAfter,
	})
	if err != nil {
		d.w.t.Fatal(err)
	}
	d.certificate = certificate.Raw()
	d.ticket = identity.Ticket{
		NodeID: public.NodeID(), Kind: wire.SubjectNode, UID: s.UID, Name: s.Name, Network: s.Network, FQDN: s.FQDN,
		VirtualIPv4: s.IPv4, VirtualIPv6: s.IPv6, Assurance: assurance, NotAfter: notAfter,
		Adapter: s.Adapter,
	}
	if _, err := rand.Read(d.ticket.SessionKey[:]); err != nil {
		d.w.t.Fatal(err)
	}
	d.seal(d.w.contents.Ticket)
}

func (d *device) seal(ring identity.Keyring) {
	d.w.t.Helper()
	sealed, err := identity.SealTicket(rand.Reader, ring, d.ticket)
	if err != nil {
		d.w.t.Fatal(err)
	}
	d.sealed, d.keys = sealed, identity.NewSignalKeys(d.ticket.SessionKey)
}

// datagram seals a body under the next counter.
func (d *device) datagram(body wire.SignalBody) []byte {
	d.counter++
	return d.keys.SealSignal(nil, d.tag, d.counter, d.cookie, d.sealed, wire.PadBody(body.AppendBody(nil), 64))
}

func (d *device) registration() wire.Registration {
	d.echo++
	return wire.Registration{Echo: d.echo, Candidates: d.candidates, Certificate: d.certificate}
}

// handle passes a datagram to the core.
func (w *world) handle(src netip.AddrPort, b []byte) []Datagram {
	return w.core.HandleDatagram(w.now, src, b, nil)
}

// message is what the core sent to a device.
type message struct {
	to   netip.AddrPort
	body wire.SignalBody
}

// send sends a body and opens what comes back for the given devices. A
// datagram that nobody can open fails the test.
func (d *device) send(body wire.SignalBody, others ...*device) []message {
	d.w.t.Helper()
	return d.w.open(d.w.handle(d.src, d.datagram(body)), append(others, d)...)
}

func (w *world) open(out []Datagram, devices ...*device) []message {
	w.t.Helper()
	var got []message
	for _, datagram := range out {
		reply, err := wire.ParseSignalReply(datagram.Data)
		if err != nil {
			w.t.Fatalf("answer: %v", err)
		}
		opened := false
		for _, d := range devices {
			if reply.ReceiverTag != d.tag || datagram.To != d.src {
				continue
			}
			_, plaintext, err := d.keys.OpenReply(datagram.Data)
			if err != nil {
				continue
			}
			body, err := wire.ParseSignalBody(plaintext)
			if err != nil {
				w.t.Fatalf("answer: %v", err)
			}
			got = append(got, message{datagram.To, body})
			opened = true
			break
		}
		if !opened {
			w.t.Fatalf("a datagram to %v can be opened by none of the devices", datagram.To)
		}
	}
	return got
}

// register registers a device, answering a challenge, and returns the acknowledgement.
func (d *device) register() wire.RegistrationAck {
	d.w.t.Helper()
	body := d.registration()
	for range 2 {
		got := d.send(body)
		if len(got) != 1 {
			d.w.t.Fatalf("registration of %s: %d answers", d.subject.Name, len(got))
		}
		switch m := got[0].body.(type) {
		case wire.Challenge:
			if m.Echo != body.Echo {
				d.w.t.Fatalf("challenge echoes %d, not %d", m.Echo, body.Echo)
			}
			d.cookie = m.Cookie
		case wire.RegistrationAck:
			if m.Echo != body.Echo {
				d.w.t.Fatalf("acknowledgement echoes %d, not %d", m.Echo, body.Echo)
			}
			return m
		}
	}
	d.w.t.Fatalf("%s is not registered", d.subject.Name)
	return wire.RegistrationAck{}
}

// dropped counts the drops of one reason.
func (w *world) dropped(reason dropReason) int {
	return int(testutil.ToFloat64(w.core.metrics.drops.WithLabelValues(string(reason))))
}

// mustDrop passes a datagram and demands that it is dropped for that reason
// without an answer or an effect.
func (w *world) mustDrop(name string, src netip.AddrPort, b []byte, reason dropReason) {
	w.t.Helper()
	before, locations := w.dropped(reason), len(w.core.locations)
	out := w.handle(src, b)
	if len(out) != 0 {
		w.t.Errorf("%s: answered", name)
	}
	if w.dropped(reason) != before+1 {
		w.t.Errorf("%s: not counted as %s", name, reason)
	}
	if len(w.core.locations) != locations {
		w.t.Errorf("%s: a location appeared", name)
	}
}
