package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/signaling"
	"github.com/cyphonic/cyphonic/internal/wire"
)

var (
	errUnanswered = errors.New("not answered in time")
	errBusy       = errors.New("the device has such a request under way")
)

// device is one general node: a key, a source address and a socket.
type device struct {
	// constant
	name   string
	source netip.Addr
	key    *identity.DeviceKey

	// under mu
	mu           sync.Mutex
	conn         *net.UDPConn
	fresh        *login.Grant // of the latest login, not in use yet
	fqdn         string
	domain       string
	client       *signaling.Client      // nil before the first login
	keys         [2]identity.SignalKeys // of the present login and of the one before
	servers      []netip.AddrPort
	registration *pending // nil: none under way
	echo         uint64   // of the registration under way
	users        int      // requests of the load under way that it makes or is asked by
	moving       bool     // takes part in no request of the load
	requests     map[uint64]*pending
}

// pending is a request by datagram that waits for its answer.
type pending struct {
	sent   int // datagrams sent by the client's timer
	done   chan error
	remote netip.AddrPort // where the first one went
}

func newDevice(name string, source netip.Addr, key *identity.DeviceKey) (*device, error) {
	d := &device{name: name, source: source, key: key, requests: make(map[uint64]*pending)}
	return d, d.open()
}

// open gives the device a socket, and with it a port, in place of an earlier one. The next registration makes it known.
func (d *device) open() error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(d.source, 0)))
	if err != nil {
		return fmt.Errorf("device %s: %w", d.name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close()
	}
	d.conn = conn
	if d.client != nil {
		d.client.Moved(time.Now(), []netip.AddrPort{d.here()}, d.servers)
	}
	return nil
}

func (d *device) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn.Close()
}

func (d *device) local() netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.here()
}

// here is local for who holds the lock.
func (d *device) here() netip.AddrPort {
	address := d.conn.LocalAddr().(*net.UDPAddr).AddrPort() // a UDP socket has no other address
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
}

// receive hands datagrams of the present socket to the client until it is closed.
func (d *device) receive() {
	buffer := make([]byte, maxDatagram)
	d.mu.Lock()
	conn := d.conn
	d.mu.Unlock()
	for {
		n, err := conn.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			d.take(time.Now(), buffer[:n])
		}
	}
}

// take gives the client one datagram and sends what it answers.
func (d *device) take(now time.Time, datagram []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		return
	}
	if d.client.Receive(now, datagram) != nil {
		return
	}
	_, plain, err := d.keys[0].OpenReply(datagram)
	if err != nil {
		_, plain, err = d.keys[1].OpenReply(datagram)
	}
	if err != nil {
		return // cannot be: the client has opened it
	}
	if body, err := wire.ParseSignalBody(plain); err == nil {
		if ack, ok := body.(wire.RegistrationAck); ok && ack.Echo == d.echo && d.registration != nil {
			d.registration.done <- nil
			d.registration = nil
		}
	}
	d.handleEvents()
	d.flush(false)
}

func (d *device) handleEvents() {
	for _, event := range d.client.Events() {
		switch e := event.(type) {
		case signaling.Confirm:
			d.client.Answer(e.DirectionID, true, []netip.AddrPort{d.here()})
		case signaling.Routed:
			d.finish(e.RequestID, nil)
		case signaling.Failed:
			if e.Code == 0 {
				d.finish(e.RequestID, errUnanswered)
			} else {
				d.finish(e.RequestID, fmt.Errorf("refused: %s", e.Code))
			}
		}
	}
}

func (d *device) finish(request uint64, err error) {
	if p := d.requests[request]; p != nil {
		delete(d.requests, request)
		p.done <- err
	}
}

// tick runs the client's timers.
func (d *device) tick(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		return
	}
	if !d.client.Next().After(now) {
		d.run(now)
	}
}

// run lets the client do what is due.
func (d *device) run(now time.Time) {
	d.client.Tick(now)
	d.handleEvents()
	d.flush(true)
}

// flush sends what the client has to send. due says that its timer sent it, and not the answer to a challenge: those
// are counted as tries.
func (d *device) flush(due bool) {
	for _, datagram := range d.client.Outbox() {
		if due {
			d.countTry(datagram)
		}
		_, _ = d.conn.WriteToUDPAddrPort(datagram.Payload, datagram.To) // a lost datagram is the client's daily bread
	}
}

func (d *device) countTry(datagram signaling.Datagram) {
	plain, err := d.keys[0].OpenSignal(datagram.Payload)
	if err != nil {
		return
	}
	body, err := wire.ParseSignalBody(plain)
	if err != nil {
		return
	}
	var p *pending
	switch m := body.(type) {
	case wire.Registration:
		if p = d.registration; p != nil {
			d.echo = m.Echo
		}
	case wire.DirectionRequest:
		p = d.requests[m.RequestID]
	}
	if p == nil {
		return
	}
	if p.sent++; p.sent == 1 {
		p.remote = datagram.To
	}
}

// keep remembers the grant of a login for the next registration.
func (d *device) keep(g *login.Grant) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fresh, d.fqdn, d.domain = g, g.FQDN, g.Domain
}

// register begins a registration, with the newest grant.
func (d *device) register(now time.Time) (*pending, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.registration != nil {
		return nil, errBusy
	}
	if d.client == nil && d.fresh == nil {
		return nil, errors.New("not logged in")
	}
	p := &pending{done: make(chan error, 1)}
	d.registration = p
	switch {
	case d.fresh == nil:
		d.client.Register(now)
	case d.client == nil:
		d.client = signaling.New(signaling.Config{Tag: rand.Uint32(), Random: rand.Uint64}, d.credentials(now), []netip.AddrPort{d.here()})
		d.fresh = nil
	default:
		d.client.Renew(now, d.credentials(now))
		d.fresh = nil
	}
	d.run(now)
	return p, nil
}

func (d *device) credentials(now time.Time) signaling.Credentials {
	g := d.fresh
	d.keys = [2]identity.SignalKeys{identity.NewSignalKeys(g.SessionKey), d.keys[0]}
	server := g.NMSIPv4
	if d.source.Is6() {
		server = g.NMSIPv6
	}
	d.servers = []netip.AddrPort{server}
	return signaling.Credentials{
		Ticket: g.Ticket, SessionKey: g.SessionKey, Certificate: g.Certificate, Servers: d.servers, ServerTime: g.Now(now),
	}
}

// join says whether the device may take part in a request of the load, by making it or as the peer; leave ends that. One
// that is registering makes none, one that moves does neither.
func (d *device) join(makes bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.moving || makes && d.registration != nil {
		return false
	}
	d.users++
	return true
}

func (d *device) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users--
}

// move keeps the device out of further requests of the load, until settle, and says whether it takes part in none.
func (d *device) move() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moving = true
	return d.users == 0
}

func (d *device) settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moving = false
}

// abandon gives a registration up.
func (d *device) abandon(p *pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.registration == p {
		d.registration = nil
	}
}

// request asks for a direction to a peer.
func (d *device) request(now time.Time, peer string) (*pending, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		return nil, errors.New("not registered")
	}
	p := &pending{done: make(chan error, 1)}
	id, err := d.client.Request(now, wire.Target{FQDN: peer}, false)
	if err != nil {
		return nil, err
	}
	d.requests[id] = p
	d.run(now)
	return p, nil
}

// tries of a pending request so far and where the first one went.
func (d *device) tries(p *pending) (int, netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return p.sent, p.remote
}

// observed is the source address that the NMS saw; the zero AddrPort if it knows none.
func (d *device) observed() netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil || !d.client.Registered() {
		return netip.AddrPort{}
	}
	observed, _ := d.client.Observed()
	return observed
}
