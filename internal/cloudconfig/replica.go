package cloudconfig

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// Replica is what a replica says of itself to the others and how it leaves.
type Replica struct {
	// Name is unique among all replicas; with several services in one process the service's name is put before it.
	// Default: <service>-<16 hex digits>, new with each start.
	Name string `json:"name,omitempty"`
	// Host is the name of the host, the same for all that runs on it, the speaker too. Default: the name that the
	// system has.
	Host string `json:"host,omitempty"`
	// Addresses are where other replicas and the speaker of the host reach this one: at most one IPv4 and one IPv6.
	// Default: the local address towards the first etcd endpoint; 127.0.0.1 with the embedded etcd.
	Addresses []string `json:"addresses,omitempty"`
	// SpeakerSocket is the unix socket of the host's speaker. Default: none, which leaves balancing to others.
	SpeakerSocket string `json:"speakerSocket,omitempty"`
	// Drain is how a replica leaves.
	Drain Drain `json:"drain,omitempty"`
}

// Drain bounds the parts of leaving, as in 5s.
type Drain struct {
	// Wait is how long the replica serves everything after it has said that it leaves, so that routers and balancers
	// send nothing more; at most 5m. 0s does not even wait for the speaker. Default: 5s with an etcd cluster, else 0s.
	Wait string `json:"wait,omitempty"`
	// HandOver bounds giving away what the replica owns, at most 5m. 0s gives nothing away. Default: 10s with an etcd
	// cluster, else 0s.
	HandOver string `json:"handOver,omitempty"`
	// Finish bounds the wait for sessions under way, at most 1h. Default: 30s with an etcd cluster, else 2s.
	Finish string `json:"finish,omitempty"`
}

// Health configures a second listener for probes and metrics.
type Health struct {
	// Listen is a TCP address, which may be reachable by others: it has /livez, /readyz and /metrics only. Default:
	// none.
	Listen string `json:"listen,omitempty"`
}

// Bounds and defaults of leaving.
const (
	maxDrainWait     = 5 * time.Minute
	maxDrainHandOver = 5 * time.Minute
	maxDrainFinish   = time.Hour

	defaultDrainWait     = 5 * time.Second
	defaultDrainHandOver = 10 * time.Second
	defaultDrainFinish   = 30 * time.Second
	// aloneDrainFinish is for logins under way; relayed sessions have nowhere to go.
	aloneDrainFinish = 2 * time.Second
)

// maxName bounds names of replicas and hosts, in bytes.
const maxName = 63

// ReplicaMaterial is the checked form of Replica and of what belongs to it.
type ReplicaMaterial struct {
	Name      string // empty: to be made
	Host      string
	Addresses []netip.Addr // empty: to be found
	Advertise []netip.AddrPort
	Wait      time.Duration
	HandOver  time.Duration
	Finish    time.Duration
}

func (c *Config) checkReplica(m *Material, add func(string, error)) {
	r := &m.Replica
	r.Name, r.Host = c.Replica.Name, c.Replica.Host
	if r.Name != "" {
		add("replica.name", checkName(r.Name))
	}
	if r.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			add("replica.host", fmt.Errorf("the system does not say its name: %w: set the field", err))
		}
		r.Host = hostName(host)
	}
	add("replica.host", checkName(r.Host))
	var err error
	r.Addresses, err = parseAddresses(c.Replica.Addresses)
	add("replica.addresses", err)
	wait, handOver, finish := defaultDrainWait, defaultDrainHandOver, defaultDrainFinish
	if len(c.Etcd.Endpoints) == 0 {
		wait, handOver, finish = 0, 0, aloneDrainFinish // no other replica takes over
	}
	r.Wait, err = drainTime(c.Replica.Drain.Wait, wait, maxDrainWait)
	add("replica.drain.wait", err)
	r.HandOver, err = drainTime(c.Replica.Drain.HandOver, handOver, maxDrainHandOver)
	add("replica.drain.handOver", err)
	r.Finish, err = drainTime(c.Replica.Drain.Finish, finish, maxDrainFinish)
	add("replica.drain.finish", err)
}

func (c *Config) checkTRS(m *Material, add func(string, error)) {
	port, err := parseListen(c.TRS.Listen)
	add("trs.listen", err)
	if c.TRS.NetworkBytesPerSecond < 0 {
		add("trs.networkBytesPerSecond", errors.New("must not be negative"))
	}
	m.Replica.Advertise, err = parseAdvertised(c.TRS.Advertise, port)
	add("trs.advertise", err)
}

func drainTime(text string, missing, limit time.Duration) (time.Duration, error) {
	if text == "" {
		return missing, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > limit {
		return 0, fmt.Errorf("%q is no duration between 0s and %s, as in 5s", text, limit)
	}
	return d, nil
}

// hostName makes what a system calls itself a name: lower case, cut to the bound.
func hostName(system string) string {
	name := strings.ToLower(system)
	return strings.Trim(name[:min(len(name), maxName)], "-.")
}

// checkName wants what may be a part of a key, a label and a DNS name (RFC 1123).
func checkName(name string) error {
	valid := func(c byte, inside bool) bool {
		return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || inside && (c == '-' || c == '.')
	}
	if name == "" || len(name) > maxName || !valid(name[0], false) || !valid(name[len(name)-1], false) {
		return fmt.Errorf("%q must have 1 to %d characters a-z, 0-9, - and ., and begin and end with a letter or digit", name, maxName)
	}
	for i := range len(name) {
		if !valid(name[i], true) {
			return fmt.Errorf("%q must have only . - 0-9 and a-z", name)
		}
	}
	return nil
}

// parseAddresses reads at most one address per family that others can reach.
func parseAddresses(texts []string) ([]netip.Addr, error) {
	var list []netip.Addr
	for _, text := range texts {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no IP address", text)
		}
		list = append(list, addr.Unmap())
	}
	return list, checkReachable(list)
}

// parseAdvertised reads at most one address per family, each with or without a port.
func parseAdvertised(texts []string, port uint16) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	var addrs []netip.Addr
	for _, text := range texts {
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			addr, e := netip.ParseAddr(text)
			if e != nil {
				return nil, fmt.Errorf("%q is neither an address, as in 192.0.2.7, nor one with a port, as in 192.0.2.7:7443 or [2001:db8::7]:7443", text)
			}
			at = netip.AddrPortFrom(addr, port)
		}
		at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		if at.Port() == 0 {
			return nil, fmt.Errorf("%q has no port", text)
		}
		list, addrs = append(list, at), append(addrs, at.Addr())
	}
	return list, checkReachable(addrs)
}

func checkReachable(list []netip.Addr) error {
	for i, a := range list {
		switch {
		case a.IsUnspecified() || a.IsMulticast() || a.Zone() != "":
			return fmt.Errorf("%s is no address at which others reach a host", a)
		case slices.ContainsFunc(list[:i], func(b netip.Addr) bool { return a.Is4() == b.Is4() }):
			return fmt.Errorf("%s is the second of its family: at most one IPv4 and one IPv6 address", a)
		}
	}
	return nil
}
