package netfilter

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
)

// Protocol of a service.
type Protocol string

// The protocols that are spread.
const (
	UDP Protocol = "udp"
	TCP Protocol = "tcp"
)

// State is everything that the rules depend on.
type State struct {
	Services []Service
	// Hosts are the addresses of the other speakers' hosts, at most one per host and address family. They must be on a
	// link of this host: a TCP packet whose connection is not known here is shown to them.
	Hosts []netip.Addr
	// Direct are UDP sockets of this host that are reached at its own addresses, past any VIP (those of relays). Their
	// packets are kept out of connection tracking, which the TCP services switch on for the whole host.
	Direct []netip.AddrPort
	// BFD: this process has BFD sessions. They are with neighbours on a link, so BFD packets to the host that came over a
	// router are dropped before any program sees them (RFC 5881, section 5).
	BFD bool
}

// Service is a port of one or more VIPs and the local replicas behind it.
type Service struct {
	Name     string // of the CloudService: letters, digits, '-', '.' and '_'
	Protocol Protocol
	VIP      []netip.Addr // at most maxVIPs, for UDP one per address family; a VIP may have services on several ports
	Port     uint16
	// Backends may be none: then the VIP is not on this host, and packets that still come for it are dropped and counted.
	Backends []Backend
}

// Backend is a local replica: a process in the namespace of the host, on an address of its own that is no VIP, or in
// another namespace of the host that has a route (a pod).
type Backend struct {
	Name    string       // of the replica
	Address []netip.Addr // at most one IPv4 and one IPv6
	Port    uint16
	// Draining backends get no new flows. TCP connections stay with them. A backend that is not in the state any more
	// keeps nothing: its connections are forgotten, and what comes for them is refused.
	Draining bool
}

var (
	validName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	validTable = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
)

// Validate says what the rules could not be made from, with the place of the fault.
func (s State) Validate() error {
	if len(s.Services) > maxServices {
		return fmt.Errorf("%d services, at most %d are spread", len(s.Services), maxServices)
	}
	if len(s.Hosts) > maxHosts {
		return fmt.Errorf("%d hosts, at most %d are known", len(s.Hosts), maxHosts)
	}
	if len(s.Direct) > maxDirect {
		return fmt.Errorf("%d direct sockets, at most %d are known", len(s.Direct), maxDirect)
	}
	for _, socket := range s.Direct {
		if !usable(socket.Addr()) || socket.Port() == 0 {
			return fmt.Errorf("direct socket %s is not a unicast address and port", socket)
		}
	}
	vips, names, fronts := map[netip.Addr]bool{}, map[string]bool{}, map[string]string{}
	for _, service := range s.Services {
		if err := service.validate(); err != nil {
			return fmt.Errorf("service %q: %w", service.Name, err)
		}
		if names[service.Name] {
			return fmt.Errorf("service %q: the name is used twice", service.Name)
		}
		names[service.Name] = true
		for _, vip := range service.VIP {
			vips[vip] = true
			front := fmt.Sprintf("%s %s", service.Protocol, netip.AddrPortFrom(vip, service.Port))
			if other, taken := fronts[front]; taken {
				return fmt.Errorf("service %q: %s is already that of service %q", service.Name, front, other)
			}
			fronts[front] = service.Name
		}
	}
	return s.validateAddresses(vips)
}

func (s Service) validate() error {
	switch {
	case !validName.MatchString(s.Name):
		return errors.New("a name has 1 to 63 letters, digits, '-', '.' or '_'")
	case s.Protocol != UDP && s.Protocol != TCP:
		return fmt.Errorf("protocol %q, want udp or tcp", s.Protocol)
	case s.Port == 0:
		return errors.New("port 0")
	case len(s.VIP) == 0 || len(s.VIP) > maxVIPs:
		return fmt.Errorf("%d VIPs, want 1 to %d", len(s.VIP), maxVIPs)
	case len(s.Backends) > maxBackends:
		return fmt.Errorf("%d backends, at most %d per service", len(s.Backends), maxBackends)
	}
	for _, vip := range s.VIP {
		if !usable(vip) {
			return fmt.Errorf("VIP %s is not a unicast address", vip)
		}
	}
	if s.Protocol == UDP && (len(ipv4.only(s.VIP)) > 1 || len(ipv6.only(s.VIP)) > 1) {
		return errors.New("several VIPs of one address family: an answer over UDP must know its VIP")
	}
	names := map[string]bool{}
	for _, backend := range s.Backends {
		if err := backend.validate(); err != nil {
			return fmt.Errorf("backend %q: %w", backend.Name, err)
		}
		if names[backend.Name] {
			return fmt.Errorf("backend %q: the name is used twice", backend.Name)
		}
		names[backend.Name] = true
	}
	return nil
}

func (b Backend) validate() error {
	switch {
	case !validName.MatchString(b.Name):
		return errors.New("a name has 1 to 63 letters, digits, '-', '.' or '_'")
	case b.Port == 0:
		return errors.New("port 0")
	case len(b.Address) == 0 || len(b.Address) > 2 || len(b.Address) == 2 && b.Address[0].Is4() == b.Address[1].Is4():
		return errors.New("want one IPv4 address, one IPv6 address or both")
	}
	for _, address := range b.Address {
		if !usable(address) {
			return fmt.Errorf("address %s is not a unicast address", address)
		}
	}
	return nil
}

// usable tells whether an address can be that of a VIP or backend. Loopback addresses cannot: the kernel lets no
// packet from the network reach them.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() &&
		!a.IsLinkLocalUnicast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// validateAddresses finds addresses that would translate in circles or both ways.
func (s State) validateAddresses(vips map[netip.Addr]bool) error {
	ends := map[string]string{}
	for _, service := range s.Services {
		for _, backend := range service.Backends {
			for _, address := range backend.Address {
				if vips[address] {
					return fmt.Errorf("service %q: backend %q has the VIP %s; let it listen on an address of its host", service.Name, backend.Name, address)
				}
				end := fmt.Sprintf("%s %s", service.Protocol, netip.AddrPortFrom(address, backend.Port))
				if other, taken := ends[end]; taken {
					return fmt.Errorf("service %q: %s of backend %q is already that of %s", service.Name, end, backend.Name, other)
				}
				ends[end] = fmt.Sprintf("backend %q of service %q", backend.Name, service.Name)
			}
		}
	}
	if len(ends) > 2*maxEnds {
		return fmt.Errorf("%d backends, at most %d are known", len(ends)/2, maxEnds)
	}
	for _, host := range s.Hosts {
		if !host.IsValid() || host.Is4In6() || host.IsUnspecified() || host.IsMulticast() || host.IsLoopback() || host.Zone() != "" {
			return fmt.Errorf("host %s is not a unicast address without a zone", host)
		}
		if vips[host] {
			return fmt.Errorf("host %s has the address of a VIP", host)
		}
	}
	return nil
}

// normal gives the state in its one order, so that equal states make equal rules.
func (s State) normal() State {
	n := State{Services: slices.Clone(s.Services), Hosts: slices.Clone(s.Hosts), Direct: slices.Clone(s.Direct), BFD: s.BFD}
	for i := range n.Services {
		service := &n.Services[i]
		service.VIP = slices.Clone(service.VIP)
		slices.SortFunc(service.VIP, netip.Addr.Compare)
		service.VIP = slices.Compact(service.VIP)
		service.Backends = slices.Clone(service.Backends)
		slices.SortFunc(service.Backends, func(a, b Backend) int { return cmp.Compare(a.Name, b.Name) })
	}
	slices.SortFunc(n.Services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(n.Hosts, netip.Addr.Compare)
	n.Hosts = slices.Compact(n.Hosts)
	slices.SortFunc(n.Direct, netip.AddrPort.Compare)
	n.Direct = slices.Compact(n.Direct)
	return n
}
