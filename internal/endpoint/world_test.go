package endpoint

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/netsim"
	"github.com/cyphonic/cyphonic/internal/tun"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/nms"
	"github.com/cyphonic/cyphonic/services/replica"
	"github.com/cyphonic/cyphonic/services/trs"
)

const (
	nmsPort = 7442
	trsPort = 7443
)

var (
	nms4, nms6 = netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("2001:db8:10::10")
	trs4, trs6 = netip.MustParseAddr("198.51.100.11"), netip.MustParseAddr("2001:db8:10::11")
	pubA, pubB = netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	lanA, lanB = netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("192.168.2.2")
	v6A, v6B   = netip.MustParseAddr("2001:db8:a::2"), netip.MustParseAddr("2001:db8:b::2")
)

// world is a simulated network with a cloud and devices, in virtual time.
type world struct {
	t        *testing.T
	net      *netsim.Network
	log      *slog.Logger
	issuer   *identity.Issuer
	trust    identity.Trust
	contents replica.Contents
	snapshot atomic.Pointer[replica.Snapshot]
	nmsHost  *netsim.Host
	trsHost  *netsim.Host
	stopNMS  func()
	stopTRS  func()
	devices  []*device
}

// inWorld runs f in virtual time. At its end everything is stopped, and a
// goroutine that is left over fails the test.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() {
			for _, d := range w.devices {
				d.stop()
			}
			w.stopNMS()
			w.stopTRS()
		}()
		f(w)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, net: netsim.New(1), log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if os.Getenv("CYPHONIC_TEST_LOG") != "" {
		w.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	root := must(identity.NewRootKey(rand.Reader))
	key := must(identity.NewIssuerKey(rand.Reader))
	now := time.Now()
	certificate := root.IssueIssuer(key.Public().(ed25519.PublicKey), now.Add(-time.Hour), now.Add(1000*time.Hour))
	w.issuer = must(identity.NewIssuer(key, certificate))
	w.trust = identity.Trust{Roots: []ed25519.PublicKey{root.Public()}}
	w.contents = replica.Contents{
		Revision: 1,
		Networks: []*replica.Network{{
			Name: "home", Domain: "home.example",
			IPv4Prefix: netip.MustParsePrefix("10.64.0.0/16"), IPv6Prefix: netip.MustParsePrefix("fd00:64::/64"),
		}},
		Services: map[string][]replica.Service{
			"trs": {{Name: "trs", IPv4: netip.AddrPortFrom(trs4, trsPort), IPv6: netip.AddrPortFrom(trs6, trsPort)}},
		},
		Policies: []*api.AccessPolicy{{
			Metadata: api.ObjectMeta{Name: "all"},
			Spec: api.AccessPolicySpec{
				Network: "home", From: []api.Selector{{Kinds: []string{"Node"}}}, To: []api.Selector{{Kinds: []string{"Node"}}},
				Rules: []api.PolicyRule{{Protocol: "any"}},
			},
		}},
		Enrolled: map[replica.Ref]replica.Enrolled{},
		Ticket:   identity.Keyring{Current: identity.SealingKey{ID: 1, Key: [32]byte{1}}},
		Relay:    identity.Keyring{Current: identity.SealingKey{ID: 2, Key: [32]byte{2}}},
	}
	w.publish()
	w.nmsHost, w.trsHost = w.net.Host(nms4, nms6), w.net.Host(trs4, trs6)
	w.startNMS()
	w.startTRS()
	return w
}

func (w *world) publish() {
	w.t.Helper()
	s, errs := replica.NewSnapshot(w.contents)
	if len(errs) > 0 {
		w.t.Fatal(errs)
	}
	w.snapshot.Store(s)
}

// background runs f and gives what ends it and waits.
func background(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f(ctx)
	}()
	return sync.OnceFunc(func() { cancel(); <-done })
}

func (w *world) startNMS() {
	core := must(nms.NewCore(nms.CoreOptions{Snapshot: w.snapshot.Load, Rand: rand.Reader, Log: w.log, Registerer: prometheus.NewRegistry()}))
	w.stopNMS = background(must(nms.NewServer(nms.ServerOptions{Core: core, Conn: must(w.nmsHost.Listen(nmsPort)), Now: time.Now, Log: w.log})).Run)
}

func (w *world) startTRS() {
	core := must(trs.NewCore(trs.CoreOptions{
		Keys: func() identity.Keyring { return w.snapshot.Load().RelayKeys() }, Rand: rand.Reader, Log: w.log, Registerer: prometheus.NewRegistry(),
	}))
	w.stopTRS = background(trs.NewServer(core, must(w.trsHost.Listen(trsPort)), time.Now, w.log).Run)
}

// machine is a host with an endpoint.
type machine struct {
	w        *world
	host     *netsim.Host
	conn     *netsim.Conn
	tun      *tun.Fake
	endpoint *Endpoint
	registry *prometheus.Registry
	stop     func()
	inbound  atomic.Pointer[func(packet []byte)]
}

// device is an identity on a machine.
type device struct {
	*machine
	w          *world
	subject    *replica.Subject
	key        *identity.DeviceKey
	ipv4, ipv6 netip.Addr
	fqdn       string
	local      *Local

	mu       sync.Mutex
	received []uint64 // sequence numbers, in order of arrival
	at       []time.Time
	echo     bool
}

// machine starts an endpoint without identities on a host.
func (w *world) machine(host *netsim.Host) *machine {
	w.t.Helper()
	m := &machine{w: w, host: host, conn: must(host.Listen(5000)), tun: tun.NewFake("cyphonic0", 1400), registry: prometheus.NewRegistry()}
	m.endpoint = must(New(Options{
		UDP: m.conn, Tun: m.tun, Workers: 1, Trust: w.trust, Log: w.log, Registerer: m.registry,
		Candidates: func() []netip.AddrPort { return host.Candidates(5000) },
	}))
	m.deliverTo(func([]byte) {})
	go m.receive()
	m.stop = background(func(ctx context.Context) error {
		err := m.endpoint.Run(ctx)
		if err != nil {
			w.t.Errorf("Run: %v", err)
		}
		return err
	})
	return m
}

// newDevice adds a device to the desired state, with addresses made from n.
func (w *world) newDevice(name string, n byte) *device {
	w.t.Helper()
	v6 := netip.MustParseAddr("fd00:64::").As16()
	v6[15] = n
	s := &replica.Subject{
		Ref: replica.Ref{Plural: keyspace.Nodes, Name: name}, UID: "uid-" + name, Network: "home", FQDN: name + ".home.example",
		IPv4: netip.AddrFrom4([4]byte{10, 64, 0, n}), IPv6: netip.AddrFrom16(v6),
	}
	w.contents.Subjects = append(w.contents.Subjects, s)
	w.publish()
	return &device{w: w, subject: s, key: must(identity.NewDeviceKey(rand.Reader)), ipv4: s.IPv4, ipv6: s.IPv6, fqdn: s.FQDN}
}

// node starts a machine with one identity and waits for its registration.
func (w *world) node(name string, n byte, host *netsim.Host) *device {
	w.t.Helper()
	d := w.newDevice(name, n)
	d.start(w.machine(host))
	w.devices = append(w.devices, d)
	return d
}

// start adds the identity to a machine and waits for its registration.
func (d *device) start(m *machine) {
	d.w.t.Helper()
	d.machine = m
	m.deliverTo(d.take)
	d.local = must(m.endpoint.Add(Identity{Key: d.key, Grant: d.grant(24 * time.Hour), Renew: func(context.Context) (*login.Grant, error) { return d.grant(24 * time.Hour), nil }}))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := d.local.WaitRegistered(ctx); err != nil {
		d.w.t.Fatalf("%s is not registered: %v", d.fqdn, err)
	}
}

// grant is what the AS would give.
func (d *device) grant(life time.Duration) *login.Grant {
	now := time.Now()
	s, public := d.subject, d.key.Public()
	c := must(d.w.issuer.Issue(identity.Certificate{
		Public: public, FQDN: s.FQDN, VirtualIPv4: s.IPv4, VirtualIPv6: s.IPv6, Network: s.Network,
		Assurance: identity.AssuranceKey, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(life),
	}))
	ticket := identity.Ticket{
		NodeID: public.NodeID(), Kind: wire.SubjectNode, UID: s.UID, Name: s.Name, Network: s.Network, FQDN: s.FQDN,
		VirtualIPv4: s.IPv4, VirtualIPv6: s.IPv6, Assurance: identity.AssuranceKey, NotAfter: now.Add(life),
	}
	must(rand.Read(ticket.SessionKey[:]))
	network := d.w.contents.Networks[0]
	issuer := d.w.issuer.Certificate()
	return &login.Grant{
		Certificate: c.Raw(), Issuers: [][]byte{issuer.Raw()},
		Ticket: must(identity.SealTicket(rand.Reader, d.w.contents.Ticket, ticket)), SessionKey: ticket.SessionKey,
		NotAfter: now.Add(life), ServerTime: now.Truncate(time.Second), Received: now,
		NMSIPv4: netip.AddrPortFrom(nms4, nmsPort), NMSIPv6: netip.AddrPortFrom(nms6, nmsPort),
		FQDN: s.FQDN, Domain: network.Domain, Network: network.Name,
		VirtualIPv4: s.IPv4, VirtualIPv6: s.IPv6, IPv4Prefix: network.IPv4Prefix, IPv6Prefix: network.IPv6Prefix,
	}
}

// packet is an inner UDP packet over IPv4 that carries a number.
func packet(src, dst netip.Addr, number uint64) []byte {
	if src.Is6() {
		b := make([]byte, 40+8+8)
		b[0] = 0x60
		binary.BigEndian.PutUint16(b[4:], 16)
		b[6], b[7] = 17, 64
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
		binary.BigEndian.PutUint16(b[40:], 1000)
		binary.BigEndian.PutUint16(b[42:], 2000)
		binary.BigEndian.PutUint16(b[44:], 16)
		binary.BigEndian.PutUint64(b[48:], number)
		return b
	}
	b := make([]byte, 20+8+8)
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[8], b[9] = 64, 17
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[20:], 1000)
	binary.BigEndian.PutUint16(b[22:], 2000)
	binary.BigEndian.PutUint16(b[24:], 16)
	binary.BigEndian.PutUint64(b[28:], number)
	return b
}

// deliverTo says who gets the inner packets that arrive.
func (m *machine) deliverTo(f func(packet []byte)) { m.inbound.Store(&f) }

func (m *machine) receive() {
	for {
		b, err := m.tun.Receive()
		if err != nil {
			return
		}
		(*m.inbound.Load())(b)
	}
}

// take notes an inner packet and, if asked to, echoes it.
func (d *device) take(b []byte) {
	d.mu.Lock()
	d.received = append(d.received, binary.BigEndian.Uint64(b[len(b)-8:]))
	d.at = append(d.at, time.Now())
	echo := d.echo
	d.mu.Unlock()
	if !echo {
		return
	}
	answer := append([]byte(nil), b...)
	if b[0]>>4 == 6 {
		copy(answer[8:24], b[24:40])
		copy(answer[24:40], b[8:24])
	} else {
		copy(answer[12:16], b[16:20])
		copy(answer[16:20], b[12:16])
		copy(answer[20:22], b[22:24])
		copy(answer[22:24], b[20:22])
	}
	_ = d.tun.Send(answer)
}

// count is the number of packets received so far.
func (d *device) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.received)
}

// longestGap is the longest time without a received packet since then, up to now.
func (d *device) longestGap(since time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	gap, last := time.Duration(0), since
	for _, at := range append(append([]time.Time(nil), d.at...), time.Now()) {
		if at.After(last) {
			gap, last = max(gap, at.Sub(last)), at
		}
	}
	return gap
}

// stream sends a numbered packet every interval until stop is called, which
// gives the count.
func (d *device) stream(to *device, interval time.Duration) (stop func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int)
	go func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				done <- n
				return
			case <-ticker.C:
				_ = d.tun.Send(packet(d.ipv4, to.ipv4, uint64(n)))
			}
		}
	}()
	return func() int { cancel(); return <-done }
}

func (d *device) connect(to *device) (Peer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return d.local.Connect(ctx, wire.Target{FQDN: to.fqdn})
}

func (d *device) mustConnect(to *device) Peer {
	d.w.t.Helper()
	p, err := d.connect(to)
	if err != nil {
		d.w.t.Fatalf("%s to %s: %v", d.fqdn, to.fqdn, err)
	}
	if p.FQDN != to.fqdn || p.NodeID != to.local.NodeID() || p.VirtualIPv4 != to.ipv4 {
		d.w.t.Fatalf("connected to %+v", p)
	}
	return p
}

// peer is the status of the peer, which must have a session.
func (d *device) peer(of *device) PeerStatus {
	d.w.t.Helper()
	for _, l := range d.endpoint.Status().Locals {
		for _, p := range l.Peers {
			if l.FQDN == d.fqdn && p.FQDN == of.fqdn {
				return p
			}
		}
	}
	d.w.t.Fatalf("%s has no session with %s", d.fqdn, of.fqdn)
	return PeerStatus{}
}

func (d *device) hasSession(with *device) bool {
	for _, l := range d.endpoint.Status().Locals {
		for _, p := range l.Peers {
			if l.FQDN == d.fqdn && p.FQDN == with.fqdn {
				return true
			}
		}
	}
	return false
}

func (d *device) wantPath(to *device, path string) {
	d.w.t.Helper()
	if got := d.peer(to); got.Path != path {
		d.w.t.Errorf("%s reaches %s by %s (%s), want %s", d.fqdn, to.fqdn, got.Path, got.Address, path)
	}
}

// dropped is the control side's drops of one reason so far.
func (m *machine) dropped(reason string) int {
	return int(testutil.ToFloat64(m.endpoint.metrics.drops.WithLabelValues(reason)))
}

// exchange sends packets both ways and wants all of them.
func exchange(w *world, a, b *device) {
	w.t.Helper()
	for _, pair := range [][2]*device{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		before := to.count()
		for n := range 10 {
			_ = from.tun.Send(packet(from.ipv4, to.ipv4, uint64(n)))
			_ = from.tun.Send(packet(from.ipv6, to.ipv6, uint64(n)))
		}
		time.Sleep(time.Second)
		if got := to.count() - before; got != 20 {
			w.t.Errorf("%s got %d of 20 packets from %s", to.fqdn, got, from.fqdn)
		}
	}
}

func describe(w *world, format string, args ...any) {
	w.t.Helper()
	w.t.Logf(format, args...)
}
