package cloud

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cyphonic/cyphonic/internal/lab"
)

// Design of the network in front of the hosts.
type Design string

// The designs.
const (
	// Private has one router between devices and hosts, with iBGP to the speakers.
	Private Design = "private"
	// Public has a router of another autonomous system, which learns the services by eBGP from the border router of the
	// cloud; that one has iBGP with the speakers.
	Public Design = "public"
)

// Software of the routers.
type Software string

// The routing software.
const (
	FRR  Software = "frr"
	BIRD Software = "bird"
)

// Options of Start.
type Options struct {
	Programs string // directory of the built programs
	Design   Design // empty: Private
	Software Software
	// Hosts is the number of hosts (0: 3), Replicas that of replicas of each service on each host (0: 1).
	Hosts, Replicas int
	// Sources is the number of addresses of the client host of each family, each with a device. 0: 1,000.
	Sources int
	// NoBFD leaves the detection of dead hosts to the hold time.
	NoBFD bool
	// HoldTime of BGP in seconds. 0: 9.
	HoldTime int
	// Drain is the section replica.drain of each replica, as in {"wait": "5s"}. nil: the defaults.
	Drain map[string]any
	// EtcdFlags are added to the command line of etcd.
	EtcdFlags []string
	// Persistent leaves everything running after Close, as the lab of that name in that directory.
	Persistent      bool
	Name, Directory string
}

func (o *Options) complete() error {
	if o.Design == "" {
		o.Design = Private
	}
	if o.Software == "" {
		o.Software = FRR
	}
	for _, n := range []*int{&o.Hosts, &o.Replicas, &o.Sources, &o.HoldTime} {
		if *n < 0 {
			return errors.New("negative numbers in the options of a cloud")
		}
	}
	if o.Hosts == 0 {
		o.Hosts = 3
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Sources == 0 {
		o.Sources = 1000
	}
	if o.HoldTime == 0 {
		o.HoldTime = 9
	}
	switch {
	case o.Design != Private && o.Design != Public:
		return fmt.Errorf("design %q: there are %s and %s", o.Design, Private, Public)
	case o.Software != FRR && o.Software != BIRD:
		return fmt.Errorf("router software %q: there are %s and %s", o.Software, FRR, BIRD)
	case o.Hosts > maxCloudHosts || o.Replicas > maxReplicas || o.Sources > maxSources:
		return fmt.Errorf("at most %d hosts, %d replicas and %d sources", maxCloudHosts, maxReplicas, maxSources)
	}
	return nil
}

// Names of hosts of the topology.
const (
	Router  = "router"  // next to the hosts, with multipath
	Peer    = "peer"    // of the other autonomous system, public design only
	Clients = "clients" // has the addresses of all devices
)

// Autonomous systems.
const (
	cloudASN = 64512
	peerASN  = 64511
)

// HostName of host i, counted from 0.
func HostName(i int) string { return fmt.Sprintf("h%d", i+1) }

// HostAddress4 and HostAddress6 are the own addresses of host i on the network behind the router.
func HostAddress4(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 64, 0, byte(11 + i)}) }

// HostAddress6 of host i.
func HostAddress6(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fd00:64::%d", 11+i))
}

// The router on the network of the hosts.
const (
	routerAddress4 = "10.64.0.1"
	routerAddress6 = "fd00:64::1"
	hostsPrefix4   = "10.64.0.0/24"
	hostsPrefix6   = "fd00:64::/64"
	// clientsPrefix4 (RFC 2544) and clientsPrefix6 (RFC 3849) hold the addresses of the devices.
	clientsPrefix4 = "198.18.0.0/16"
	clientsPrefix6 = "2001:db8:c000::/48"
)

// Service of the cloud.
type Service string

// The services with replicas.
const (
	AS  Service = "as"
	NMS Service = "nms"
	TRS Service = "trs"
)

// Services lists them.
func Services() []Service { return []Service{AS, NMS, TRS} }

// Announced lists the services that devices reach at the same address everywhere. A TRS they reach at that of its host.
func Announced() []Service { return []Service{AS, NMS} }

// VIP4 and VIP6 are the addresses of an announced service, or of the manager.
func VIP4(service Service) netip.Addr {
	return netip.AddrFrom4([4]byte{203, 0, 113, vipNumber(service)})
}

// VIP6 of a service.
func VIP6(service Service) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:113::%d", vipNumber(service)))
}

func vipNumber(service Service) byte {
	switch service {
	case AS:
		return 11
	case NMS:
		return 12
	default:
		return 10
	}
}

// Port of a service at its VIP, 0 if it has none.
func Port(service Service) uint16 {
	return map[Service]uint16{AS: 7441, NMS: 7442}[service]
}

// Sources are the addresses of devices, IPv4 and IPv6 in turn; each IPv6 address is in a /64 of its own, as those of
// real devices are.
func Sources(n int) []netip.Addr {
	all := make([]netip.Addr, 0, 2*n)
	for i := range n {
		all = append(all,
			netip.AddrFrom4([4]byte{198, 18, byte(1 + i/250), byte(1 + i%250)}),
			netip.MustParseAddr(fmt.Sprintf("2001:db8:c000:%x::1", i+1)))
	}
	return all
}

// topology of a design:
//
//	private:  clients ── router ── h1, h2, h3
//	public:   clients ── peer ── router ── h1, h2, h3
func topology(o Options) lab.Topology {
	t := lab.Topology{Hosts: []lab.HostSpec{
		{
			Name: Router, Router: true,
			Bridges: []lab.BridgeSpec{{Name: "hosts", Addresses: lab.Prefixes(routerAddress4+"/24", routerAddress6+"/64")}},
		},
		{Name: Clients, Routes: lab.DefaultRoutes("192.0.2.1", "2001:db8:2::1")},
	}}
	toClients := []lab.Route{
		{To: netip.MustParsePrefix(clientsPrefix4), Via: netip.MustParseAddr("192.0.2.2")},
		{To: netip.MustParsePrefix(clientsPrefix6), Via: netip.MustParseAddr("2001:db8:2::2")},
	}
	first := Router // the first router that devices meet
	if o.Design == Public {
		first = Peer
		t.Hosts = append(t.Hosts, lab.HostSpec{Name: Peer, Router: true, Routes: toClients})
		t.Links = append(t.Links, lab.LinkSpec{
			A: lab.End{Host: Peer, Interface: "cloud", Addresses: lab.Prefixes(peerAddress4+"/30", peerAddress6+"/64")},
			B: lab.End{Host: Router, Interface: "peer", Addresses: lab.Prefixes(borderAddress4+"/30", borderAddress6+"/64")},
		})
	} else {
		t.Hosts[0].Routes = toClients
	}
	t.Links = append(t.Links, lab.LinkSpec{
		A: lab.End{Host: first, Interface: "clients", Addresses: lab.Prefixes("192.0.2.1/30", "2001:db8:2::1/64")},
		B: lab.End{Host: Clients, Interface: "eth0", Addresses: lab.Prefixes("192.0.2.2/30", "2001:db8:2::2/64")},
	})
	nodeTopology(&t, first)
	for i := range o.Hosts {
		name := HostName(i)
		t.Hosts = append(t.Hosts, lab.HostSpec{Name: name, Routes: lab.DefaultRoutes(routerAddress4, routerAddress6)})
		t.Links = append(t.Links, lab.LinkSpec{
			A: lab.End{Host: Router, Interface: "to-" + name, Bridge: "hosts"},
			B: lab.End{
				Host: name, Interface: "eth0",
				Addresses: []netip.Prefix{netip.PrefixFrom(HostAddress4(i), 24), netip.PrefixFrom(HostAddress6(i), 64)},
			},
		})
	}
	return t
}

// The link between the routers of the public design.
const (
	peerAddress4, peerAddress6     = "192.0.2.5", "2001:db8:5::1"
	borderAddress4, borderAddress6 = "192.0.2.6", "2001:db8:5::2"
)
