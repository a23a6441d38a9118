package load

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Config says who the devices are and where the AS is.
type Config struct {
	TrustFile string         `json:"trustFile"`
	ASIPv4    netip.AddrPort `json:"asIPv4"`
	ASIPv6    netip.AddrPort `json:"asIPv6"`
	// Adapter vouches for the devices; its key is in AdapterKeyFile, or is made there and enrolled with the token in TokenFile.
	Adapter        string   `json:"adapter"`
	AdapterKeyFile string   `json:"adapterKeyFile"`
	TokenFile      string   `json:"tokenFile"`
	Devices        []Device `json:"devices"`
}

// Device is a general node of the adapter, known by its MAC address, and the address that it sends from.
type Device struct {
	Name   string     `json:"name"`
	Source netip.Addr `json:"source"`
}

// Generator is the devices. It is complete after New.
type Generator struct {
	config  Config
	trust   identity.Trust
	adapter *identity.DeviceKey
	devices []*device
	ports   atomic.Uint32 // source ports of logins, in turn
	opened  chan *device  // have a new socket
	ready   atomic.Bool   // all devices are registered
	stalls  stalls
}

// New opens the sockets of all devices.
func New(config Config) (*Generator, error) {
	if n := len(config.Devices); n == 0 || n > MaxDevices {
		return nil, fmt.Errorf("%d devices, must be 1 … %d", n, MaxDevices)
	}
	g := &Generator{config: config, opened: make(chan *device)}
	var err error
	if g.trust, err = identity.LoadTrust(config.TrustFile); err != nil {
		return nil, err
	}
	if g.adapter, err = identity.LoadOrCreateDeviceKey(config.AdapterKeyFile, rand.Reader); err != nil {
		return nil, err
	}
	for _, c := range config.Devices {
		key, err := identity.NewDeviceKey(rand.Reader)
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		d, err := newDevice(c.Name, c.Source, key)
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		g.devices = append(g.devices, d)
	}
	return g, nil
}

// Close closes the sockets.
func (g *Generator) Close() error {
	var err error
	for _, d := range g.devices {
		err = errors.Join(err, d.close())
	}
	return err
}

// Run receives and keeps the timers until ctx ends, then closes the sockets.
func (g *Generator) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, d := range g.devices {
		all.Go(d.receive)
	}
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for last := time.Now(); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case d := <-g.opened:
			all.Go(d.receive)
		case <-ticker.C:
			now := time.Now()
			g.stalls.note(last, now)
			last = now
			for _, d := range g.devices {
				d.tick(now)
			}
		}
	}
	err := g.Close()
	all.Wait()
	return err
}

// Enrol makes the adapter's key known with the one-time token.
func (g *Generator) Enrol(ctx context.Context) error {
	token, err := os.ReadFile(g.config.TokenFile)
	if err != nil {
		return err
	}
	client, err := login.Dial(ctx, g.dialing(g.devices[0]).options)
	if err != nil {
		return err
	}
	defer client.Close()
	subject := wire.Subject{Kind: wire.SubjectAdapter, Name: g.config.Adapter}
	_, err = client.Login(ctx, subject, g.adapter, wire.CredentialToken{Token: strings.TrimSpace(string(token))})
	return err
}

// Setup logs all devices in and registers them, parallel at a time.
func (g *Generator) Setup(ctx context.Context, parallel int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, d := range g.devices {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, setupTimeout)
			defer cancel()
			// A replica may not have heard of a new device yet, which a load must not suffer from.
			for {
				o := g.login(ctx, d)
				if !o.failed {
					break
				}
				if !sleepUntil(ctx, time.Now().Add(setupDelay)) {
					return fmt.Errorf("device %s: login: %w", d.name, o.err)
				}
			}
			if o := register(ctx, d); o.failed {
				return fmt.Errorf("device %s: registration: %w", d.name, o.err)
			}
			return nil
		})
	}
	err := group.Wait()
	g.ready.Store(err == nil)
	return err
}

// Reopen gives every device a new socket, with another port, and registers it from there. A load that runs meanwhile
// leaves out the devices that are at it, so that no request is under way to or from a socket that is closed.
func (g *Generator) Reopen(ctx context.Context, parallel int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, d := range g.devices {
		group.Go(func() error {
			defer d.settle()
			for !d.move() {
				if !sleepUntil(ctx, time.Now().Add(busyPause)) {
					return ctx.Err()
				}
			}
			if err := d.open(); err != nil {
				return err
			}
			select {
			case g.opened <- d:
			case <-ctx.Done():
				return ctx.Err()
			}
			if o := register(ctx, d); o.failed {
				return fmt.Errorf("device %s: registration: %w", d.name, o.err)
			}
			return nil
		})
	}
	return group.Wait()
}

// Observation is what the NMS told a device about its source address.
type Observation struct {
	Device   string         `json:"device"`
	Source   netip.AddrPort `json:"source"`   // the true one
	Observed netip.AddrPort `json:"observed"` // zero: it is not registered
}

// Observations of all devices, as of their latest registrations.
func (g *Generator) Observations() []Observation {
	all := make([]Observation, len(g.devices))
	for i, d := range g.devices {
		all[i] = Observation{Device: d.name, Source: d.local(), Observed: d.observed()}
	}
	return all
}

// dialing is how a device logs in, and what is known of it.
type dialing struct {
	options login.Options
	first   netip.AddrPort // where the first connection came from
	repeats int
	err     error // of the first try
}

// dialing of the device: every connection from another port.
func (g *Generator) dialing(d *device) *dialing {
	a := &dialing{options: login.Options{Address: g.server(d).String(), Trust: g.trust}}
	a.options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		from := netip.AddrPortFrom(d.source, g.port())
		if !a.first.IsValid() {
			a.first = from
		}
		dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from)}
		return dialer.DialContext(ctx, network, address)
	}
	a.options.Repeated = func(err error) {
		if a.repeats++; a.err == nil {
			a.err = err
		}
	}
	return a
}

// server is where the device logs in.
func (g *Generator) server(d *device) netip.AddrPort {
	if d.source.Is6() {
		return g.config.ASIPv6
	}
	return g.config.ASIPv4
}

// port is chosen here and not by the kernel, so that it is known also of a connection that was never made.
func (g *Generator) port() uint16 { return uint16(firstPort + g.ports.Add(1)%ports) }

// login logs the device in; the repetitions are those of its client.
func (g *Generator) login(ctx context.Context, d *device) outcome {
	a := g.dialing(d)
	grant, err := g.loginBy(ctx, d, a)
	if err == nil {
		d.keep(grant)
	} else if a.err == nil {
		a.err = err
	}
	return outcome{tries: 1 + a.repeats, failed: err != nil, err: a.err, local: a.first, remote: g.server(d)}
}

func (g *Generator) loginBy(ctx context.Context, d *device, a *dialing) (*login.Grant, error) {
	client, err := login.Dial(ctx, a.options)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.LoginGeneralNode(ctx, d.name, d.key, g.config.Adapter, g.adapter, identity.AssuranceMAC)
}

// register registers the device; the repetitions are those of its client.
func register(ctx context.Context, d *device) outcome {
	p, err := d.register(time.Now())
	if err != nil {
		return outcome{tries: 1, failed: true, err: err, local: d.local()}
	}
	timer := time.NewTimer(registrationTimeout)
	defer timer.Stop()
	select {
	case err = <-p.done:
	case <-timer.C:
		err = errUnanswered
	case <-ctx.Done():
		err = ctx.Err()
	}
	d.abandon(p)
	return d.judge(p, err)
}

// direct asks for a direction to a peer; the repetitions are those of its client, which gives up by itself.
func direct(ctx context.Context, d, peer *device) outcome {
	p, err := d.request(time.Now(), peer.name+"."+d.domain)
	if err != nil {
		return outcome{tries: 1, failed: true, err: err, local: d.local(), peer: peer.name}
	}
	select {
	case err = <-p.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	o := d.judge(p, err)
	o.peer = peer.name
	return o
}

// judge makes the outcome of a request by datagram.
func (d *device) judge(p *pending, err error) outcome {
	tries, remote := d.tries(p)
	o := outcome{tries: tries, failed: err != nil, err: err, local: d.local(), remote: remote}
	if err == nil && tries > 1 {
		o.err = errUnanswered
	}
	return o
}
