package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/cloudconfig"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/udp"
	"github.com/cyphonic/cyphonic/manager"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
	"github.com/cyphonic/cyphonic/services/as"
	"github.com/cyphonic/cyphonic/services/nms"
	"github.com/cyphonic/cyphonic/services/nms/peering"
	"github.com/cyphonic/cyphonic/services/replica"
	"github.com/cyphonic/cyphonic/services/trs"
)

func (c *cloud) openManager(o cloudOptions, store *etcd.Store) error {
	config := o.config.Manager
	own, err := c.managerReplica(o)
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	m, err := manager.New(manager.Options{
		Store: store, Listen: config.Listen, TLSCert: config.CertificateFile, TLSKey: config.KeyFile, ClientCA: config.ClientCAFile,
		AdminTokenHash: o.material.AdminTokenHash, OIDC: oidcOf(o), SecretsDirectory: config.SecretsDirectory,
		Advertise: config.Advertise, ShutdownDelay: o.material.ShutdownDelay,
		Replica:    own,
		Registerer: c.registry, Log: o.log.With("component", "manager"),
	})
	if err != nil {
		return err
	}
	c.closers = append(c.closers, func() { _ = m.Close() })
	c.addresses[cloudconfig.ServiceManager] = m.Addr().String()
	c.manager = m
	return nil
}

// managerReplica is what the manager says of itself as a replica. It leaves in its own way; the speaker is told of it.
func (c *cloud) managerReplica(o cloudOptions) (manager.Replica, error) {
	const service = cloudconfig.ServiceManager
	starting := keyspace.ReplicaStarting
	c.managerState.Store(&starting)
	identity, err := identify(o, service, o.config.Manager.Listen)
	if err != nil {
		return manager.Replica{}, err
	}
	port, err := portOf(o.config.Manager.Listen)
	if err != nil {
		return manager.Replica{}, err
	}
	c.sampler.add(service, nil, nil)
	speaker := c.speakerFor(o, service, identity.Name, identity.Addresses, port)
	if speaker != nil {
		c.below = append(c.below, speaker.Run)
	}
	return manager.Replica{
		Name: identity.Name, Host: identity.Host, Version: identity.Version, Addresses: identity.Addresses,
		Load: func() keyspace.Load { return c.sampler.load(service) },
		OnState: func(state keyspace.ReplicaState) {
			c.managerState.Store(&state)
			c.lifeCounts.Enter(service, state)
			if speaker != nil {
				speaker.SetState(state)
			}
		},
	}, nil
}

// oidcOf is where people log in; nil: nowhere.
func oidcOf(o cloudOptions) *access.OIDC {
	config := o.config.Manager.OIDC
	if config.Issuer == "" {
		return nil
	}
	return &access.OIDC{
		Issuer: config.Issuer, ClientID: config.ClientID, UsernameClaim: config.UsernameClaim, GroupsClaim: config.GroupsClaim,
		UsernamePrefix: config.UsernamePrefix, Roots: o.material.OIDCRoots,
	}
}

func (c *cloud) openAS(o cloudOptions) error {
	log := o.log.With("component", "as")
	core, err := as.NewCore(as.CoreOptions{
		Directory: c.replica, Issuer: o.material.Issuer, Rand: rand.Reader, Log: log, Registerer: c.registry,
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.config.AS.Listen)
	if err != nil {
		return err
	}
	c.closers = append(c.closers, func() { _ = listener.Close() })
	c.addresses[cloudconfig.ServiceAS] = listener.Addr().String()
	identity, err := identify(o, cloudconfig.ServiceAS, o.config.AS.Listen)
	if err != nil {
		return err
	}
	port, err := portOf(listener.Addr().String())
	if err != nil {
		return err
	}
	return c.join(o, identity, port, as.NewServer(core, listener, o.material.ASTLS, time.Now, log))
}

func (c *cloud) openNMS(o cloudOptions) error {
	log := o.log.With("component", "nms")
	own, err := identify(o, cloudconfig.ServiceNMS, o.config.NMS.Listen)
	if err != nil {
		return err
	}
	core, err := nms.NewCore(nms.CoreOptions{
		Name: own.Name, Snapshot: c.replica.Snapshot, Rand: rand.Reader, Log: log, Registerer: c.registry,
	})
	if err != nil {
		return err
	}
	conn, err := c.listenUDP(cloudconfig.ServiceNMS, o.config.NMS.Listen)
	if err != nil {
		return err
	}
	peers, err := c.openPeering(o, &own)
	if err != nil {
		return err
	}
	server, err := nms.NewServer(nms.ServerOptions{Core: core, Conn: conn, Now: time.Now, Log: log, Members: c.replica, Peering: peers})
	if err != nil {
		return err
	}
	c.nms = core
	return c.join(o, own, conn.LocalPort(), server)
}

// openPeering listens for the other replicas of the NMS and says in the identity where; nil with the embedded etcd, where
// there are none.
func (c *cloud) openPeering(o cloudOptions, own *replica.Identity) (*nms.PeeringOptions, error) {
	if len(o.config.Etcd.Endpoints) == 0 {
		return nil, nil
	}
	listener, err := c.listenTCP("peers", o.config.NMS.PeerListen)
	if err != nil {
		return nil, err
	}
	secret, err := peering.NewIdentity(rand.Reader, time.Now())
	if err != nil {
		return nil, err
	}
	addresses := own.Addresses
	if host, _, err := net.SplitHostPort(o.config.NMS.PeerListen); err == nil {
		if addr, err := netip.ParseAddr(host); err == nil && !addr.IsUnspecified() {
			addresses = []netip.Addr{addr.Unmap()} // only there
		}
	}
	port, err := portOf(listener.Addr().String())
	if err != nil {
		return nil, err
	}
	own.Peer, own.Pin = netip.AddrPortFrom(addresses[0], port), secret.Pin
	return &nms.PeeringOptions{Listener: listener, Identity: secret, Program: own.Version, Registerer: c.registry}, nil
}

func (c *cloud) openTRS(o cloudOptions) error {
	log := o.log.With("component", "trs")
	core, err := trs.NewCore(trs.CoreOptions{
		Keys: func() identity.Keyring { return c.replica.Snapshot().RelayKeys() }, Rand: rand.Reader, Log: log, Registerer: c.registry,
		NetworkBytesPerSecond: o.config.TRS.NetworkBytesPerSecond, AllowLocal: o.config.TRS.AllowLocalClients,
	})
	if err != nil {
		return err
	}
	conn, err := c.listenUDP(cloudconfig.ServiceTRS, o.config.TRS.Listen)
	if err != nil {
		return err
	}
	own, err := identify(o, cloudconfig.ServiceTRS, o.config.TRS.Listen)
	if err != nil {
		return err
	}
	own.Advertised = o.material.Replica.Advertise
	return c.join(o, own, conn.LocalPort(), trs.NewServer(core, conn, time.Now, log))
}

// listenUDP opens the socket of a service: both address families, or the one
// of the address in the configuration.
func (c *cloud) listenUDP(service, address string) (udp.Conn, error) {
	options, err := udpOptions(address)
	if err != nil {
		return nil, err
	}
	options.Registerer = prometheus.WrapRegistererWith(prometheus.Labels{"service": service}, c.registry)
	conn, err := udp.Listen(options)
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, func() { _ = conn.Close() })
	host, _, _ := net.SplitHostPort(address)
	c.addresses[service] = net.JoinHostPort(host, fmt.Sprint(conn.LocalPort()))
	return conn, nil
}

func udpOptions(address string) (udp.Options, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return udp.Options{}, err
	}
	port, err := net.LookupPort("udp", text)
	if err != nil {
		return udp.Options{}, err
	}
	options := udp.Options{Port: uint16(port)}
	if host == "" {
		return options, nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return udp.Options{}, err
	}
	if addr = addr.Unmap(); addr.Is4() {
		options.IPv4, options.IPv4Address = true, addr
	} else {
		options.IPv6, options.IPv6Address = true, addr
	}
	return options, nil
}
