package main

import (
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/signaling"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// stepTimeout bounds every wait of the tests for an answer.
const stepTimeout = 10 * time.Second

// device is an end device with a real socket and the real signalling client,
// driven step by step by the test.
type device struct {
	t       *testing.T
	key     *identity.DeviceKey
	grant   *login.Grant
	socket  *net.UDPConn
	client  *signaling.Client
	events  []signaling.Event
	refuse  bool     // confirmations
	relayed [][]byte // relay messages that came in
	cookie  [16]byte // of the TRS
	channel uint32
	relay   wire.Relay
}

func newDeviceKey(t *testing.T) *identity.DeviceKey {
	t.Helper()
	key, err := identity.NewDeviceKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func randomNumber() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return binary.BigEndian.Uint64(b[:])
}

// newDevice opens a socket and begins to register with the grant.
func newDevice(t *testing.T, key *identity.DeviceKey, grant *login.Grant) *device {
	t.Helper()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	d := &device{t: t, key: key, grant: grant, socket: socket}
	d.client = signaling.New(signaling.Config{Tag: uint32(randomNumber()), Random: randomNumber}, signaling.Credentials{
		Ticket: grant.Ticket, SessionKey: grant.SessionKey, Certificate: grant.Certificate,
		Servers: []netip.AddrPort{grant.NMSIPv4}, ServerTime: grant.ServerTime,
	}, []netip.AddrPort{d.address()})
	return d
}

func (d *device) address() netip.AddrPort {
	a := d.socket.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (d *device) sendTo(to netip.AddrPort, b []byte) {
	d.t.Helper()
	if _, err := d.socket.WriteToUDPAddrPort(b, to); err != nil {
		d.t.Fatal(err)
	}
}

// step sends what is due and takes in what comes within a moment.
func (d *device) step() {
	d.t.Helper()
	d.client.Tick(time.Now())
	d.flush()
	var buffer [2048]byte
	for {
		if err := d.socket.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
			d.t.Fatal(err)
		}
		n, _, err := d.socket.ReadFromUDPAddrPort(buffer[:])
		if err != nil {
			return // nothing more, or an ICMP error while the cloud is away
		}
		b := append([]byte(nil), buffer[:n]...)
		if kind, err := wire.PeekType(b); err == nil && kind == wire.TypeSignalReply {
			_ = d.client.Receive(time.Now(), b)
		} else {
			d.relayed = append(d.relayed, b)
		}
		for _, e := range d.client.Events() {
			if c, ok := e.(signaling.Confirm); ok {
				d.client.Answer(c.DirectionID, !d.refuse, []netip.AddrPort{d.address()})
			}
			d.events = append(d.events, e)
		}
		d.flush()
	}
}

func (d *device) flush() {
	for _, datagram := range d.client.Outbox() {
		d.sendTo(datagram.To, datagram.Payload)
	}
}

// await steps all devices until the condition holds.
func await(t *testing.T, what string, condition func() bool, devices ...*device) {
	t.Helper()
	for end := time.Now().Add(stepTimeout); !condition(); {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", stepTimeout, what)
		}
		for _, d := range devices {
			d.step()
		}
	}
}

// take removes the first event of a type.
func take[E signaling.Event](d *device) (event E, ok bool) {
	for i, e := range d.events {
		if event, ok = e.(E); ok {
			d.events = append(d.events[:i], d.events[i+1:]...)
			return event, true
		}
	}
	return event, false
}

// direct asks for a direction from a to b and returns what both are told.
func direct(t *testing.T, a, b *device, relay bool) (atA, atB signaling.Routed) {
	t.Helper()
	if _, err := a.client.Request(time.Now(), wire.Target{FQDN: b.grant.FQDN}, relay); err != nil {
		t.Fatal(err)
	}
	var gotA, gotB bool
	await(t, "the route direction at both ends", func() bool {
		if f, failed := take[signaling.Failed](a); failed {
			t.Fatalf("the direction request failed: %v", f.Code)
		}
		if !gotA {
			atA, gotA = take[signaling.Routed](a)
		}
		if !gotB {
			atB, gotB = take[signaling.Routed](b)
		}
		return gotA && gotB
	}, a, b)
	a.relay, b.relay = atA.Direction.Relay, atB.Direction.Relay
	return atA, atB
}

// bindRelay binds the device's address with the relay token of its direction.
func (d *device) bindRelay() wire.RelayBound {
	d.t.Helper()
	nonce := randomNumber()
	for end := time.Now().Add(stepTimeout); time.Now().Before(end); {
		b := wire.RelayBind{Nonce: nonce, Cookie: d.cookie, Token: d.relay.Token}.Append(nil)
		wire.SignRelay(b, d.relay.BindKey)
		d.sendTo(d.relay.IPv4, b)
		for _, m := range d.takeRelayed() {
			if c, err := wire.ParseRelayChallenge(m); err == nil && c.Nonce == nonce {
				d.cookie, nonce = c.Cookie, randomNumber()
			}
			if e, err := wire.ParseRelayError(m); err == nil {
				d.t.Fatalf("relay error %v", e.Code)
			}
			if r, err := wire.ParseRelayBound(m); err == nil && r.Nonce == nonce && wire.VerifyRelay(m, d.relay.BindKey) {
				d.channel = r.Channel
				return r
			}
		}
	}
	d.t.Fatalf("no relay after %v", stepTimeout)
	return wire.RelayBound{}
}

func (d *device) takeRelayed() [][]byte {
	d.step()
	out := d.relayed
	d.relayed = nil
	return out
}

// passRelayed sends one tunnel datagram through the TRS and demands that it
// arrives unchanged.
func passRelayed(t *testing.T, from, to *device) {
	t.Helper()
	payload := wire.AppendDataHeader(nil, 0, 7, randomNumber())
	payload = append(payload, []byte("opaque to the relay, sixteen+ bytes")...)
	for end := time.Now().Add(stepTimeout); time.Now().Before(end); {
		from.sendTo(from.relay.IPv4, wire.RelayData{Channel: from.channel, Datagram: payload}.Append(nil))
		for _, m := range to.takeRelayed() {
			if r, err := wire.ParseRelayData(m); err == nil && r.Channel == to.channel && string(r.Datagram) == string(payload) {
				return
			}
		}
	}
	t.Fatal("a relayed datagram does not arrive")
}
