package speaker_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/lab"
)

// The two ends of the link, and the addresses of the services.
const (
	hostIP4, routerIP4 = "198.51.100.2", "198.51.100.1"
	hostIP6, routerIP6 = "2001:db8:51::2", "2001:db8:51::1"
	vip4, vip6         = "203.0.113.10", "2001:db8:113::10"
)

// net1 is a host with a speaker and a router, joined by a link.
type net1 struct {
	t         *testing.T
	lab       *lab.Lab
	directory string
	speaker   *lab.Process
	resources map[string]json.RawMessage
	settings  settings
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
		t.Skip("needs root (network namespaces); CYPHONIC_UNPRIVILEGED=1 skips it")
	}
	t.Fatal("needs root (network namespaces); set CYPHONIC_UNPRIVILEGED=1 to skip")
}

// newNet builds the link between "host" and the given routers (at 198.51.100.1, .5, .9 …, each on a /30).
func newNet(t *testing.T, routers ...string) *net1 {
	t.Helper()
	requireRoot(t)
	topology := lab.Topology{Hosts: []lab.HostSpec{{Name: "host"}}}
	for i, name := range routers {
		topology.Hosts = append(topology.Hosts, lab.HostSpec{Name: name, Router: true})
		topology.Links = append(topology.Links, lab.LinkSpec{
			A: lab.End{Host: "host", Interface: fmt.Sprintf("eth%d", i), Addresses: lab.Prefixes(fmt.Sprintf("198.51.100.%d/30", 4*i+2), fmt.Sprintf("2001:db8:%x::2/64", 0x51+i))},
			B: lab.End{Host: name, Interface: "eth0", Addresses: lab.Prefixes(fmt.Sprintf("198.51.100.%d/30", 4*i+1), fmt.Sprintf("2001:db8:%x::1/64", 0x51+i))},
		})
	}
	directory := t.TempDir() // removed after the lab
	l, err := lab.New(t.Context(), lab.Options{NoEvidence: true}, topology)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range l.Processes() {
				t.Logf("--- %s in %s:\n%s", p.Name, p.Host, p.LogTail(60))
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	n := &net1{t: t, lab: l, directory: directory, resources: map[string]json.RawMessage{}}
	n.settings = settings{
		Host: "h1", Directory: n.directory, RouterID: hostIP4, Graceful: 50 * time.Millisecond, Grace: 100 * time.Millisecond,
	}
	return n
}

// start starts the speaker.
func (n *net1) start() {
	n.t.Helper()
	_ = os.Remove(filepath.Join(n.directory, "speaker.sock"))
	raw, err := json.Marshal(n.settings)
	if err != nil {
		n.t.Fatal(err)
	}
	n.speaker, err = n.lab.Host("host").Start(lab.Command{Name: "speaker", Args: []string{os.Args[0]}, Env: []string{settingsVariable + "=" + string(raw), "GOMEMLIMIT=200MiB"}}) // as its systemd unit has it
	if err != nil {
		n.t.Fatal(err)
	}
}

// put makes resources known to the speaker.
func (n *net1) put(objects ...api.Object) {
	n.t.Helper()
	for _, o := range objects {
		o.SetType()
		o.Default()
		raw, err := json.Marshal(o)
		if err != nil {
			n.t.Fatal(err)
		}
		n.resources[keyspace.Resource(plural(o), o.Meta().Name)] = raw
	}
	n.save()
}

func (n *net1) remove(o api.Object) {
	n.t.Helper()
	delete(n.resources, keyspace.Resource(plural(o), o.Meta().Name))
	n.save()
}

func plural(o api.Object) string {
	switch o.(type) {
	case *api.BGPPeer:
		return keyspace.BGPPeers
	case *api.BGPAdvertisement:
		return keyspace.BGPAdvertisements
	default:
		return keyspace.CloudServices
	}
}

func (n *net1) save() {
	n.t.Helper()
	raw, err := json.Marshal(n.resources)
	if err == nil {
		err = os.WriteFile(filepath.Join(n.directory, "resources.new"), raw, 0o600)
	}
	if err == nil {
		err = os.Rename(filepath.Join(n.directory, "resources.new"), filepath.Join(n.directory, "resources.json"))
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

func peer(name, address string, asn int64, change func(*api.BGPPeerSpec)) *api.BGPPeer {
	p := &api.BGPPeer{Metadata: api.ObjectMeta{Name: name}, Spec: api.BGPPeerSpec{PeerAddress: address, PeerASN: asn, LocalASN: 64512, ConnectRetrySeconds: 1, HoldTimeSeconds: 9}}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func service(name string) *api.CloudService {
	return &api.CloudService{Metadata: api.ObjectMeta{Name: name}, Spec: api.CloudServiceSpec{Service: "nms", Ipv4: vip4, Ipv6: vip6}}
}

func advertisement(name string, change func(*api.BGPAdvertisementSpec)) *api.BGPAdvertisement {
	a := &api.BGPAdvertisement{Metadata: api.ObjectMeta{Name: name}}
	if change != nil {
		change(&a.Spec)
	}
	return a
}

// member is a replica as the speaker sees it.
type member struct {
	t            *testing.T
	conn         net.Conn
	answers      chan balancer.Answer
	registration balancer.Registration
}

func (n *net1) register(name string, state keyspace.ReplicaState) *member {
	n.t.Helper()
	return n.registerAt(name, 17442, state)
}

func (n *net1) registerAt(name string, port uint16, state keyspace.ReplicaState) *member {
	n.t.Helper()
	var conn net.Conn
	n.await("the socket of the speaker", 10*time.Second, func() (string, bool) {
		var err error
		conn, err = net.Dial("unix", filepath.Join(n.directory, "speaker.sock"))
		return fmt.Sprint(err), err == nil
	})
	m := &member{t: n.t, conn: conn, answers: make(chan balancer.Answer, 64), registration: balancer.Registration{
		Version: balancer.Version, Service: "nms", Name: name, Port: port,
		Addresses: []netip.Addr{netip.MustParseAddr(hostIP4), netip.MustParseAddr(hostIP6)},
	}}
	n.t.Cleanup(func() { _ = conn.Close() })
	go func() {
		defer close(m.answers)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			var a balancer.Answer
			if json.Unmarshal(lines.Bytes(), &a) == nil {
				m.answers <- a
			}
		}
	}()
	m.say(state)
	return m
}

func (m *member) say(state keyspace.ReplicaState) {
	m.t.Helper()
	m.registration.State = state
	if err := json.NewEncoder(m.conn).Encode(m.registration); err != nil {
		m.t.Fatal(err)
	}
}

// hear waits for an answer that fits.
func (m *member) hear(what string, fits func(balancer.Answer) bool) balancer.Answer {
	m.t.Helper()
	limit := time.After(10 * time.Second)
	var last balancer.Answer
	for {
		select {
		case a, ok := <-m.answers:
			if !ok {
				m.t.Fatalf("%s: the speaker closed the connection; last answer %+v", what, last)
			}
			if last = a; fits(a) {
				return a
			}
		case <-limit:
			m.t.Fatalf("%s: last answer %+v", what, last)
		}
	}
}

// await asks again and again until the answer is yes.
func (n *net1) await(what string, limit time.Duration, ask func() (string, bool)) {
	n.t.Helper()
	end := time.Now().Add(limit)
	for {
		saw, ok := ask()
		if ok {
			return
		}
		if time.Now().After(end) {
			n.t.Fatalf("%s: not within %v: %s", what, limit, saw)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// report is what the speaker says of itself.
func (n *net1) report() (r keyspace.SpeakerRecord) {
	raw, err := os.ReadFile(filepath.Join(n.directory, "report.json"))
	if err == nil {
		_ = json.Unmarshal(raw, &r)
	}
	return r
}

func (n *net1) session(peer string) (s keyspace.BGPSession) {
	for _, s := range n.report().Sessions {
		if s.Peer == peer {
			return s
		}
	}
	return s
}

func (n *net1) awaitState(peer, state string, limit time.Duration) {
	n.t.Helper()
	n.await("session with "+peer+" "+state, limit, func() (string, bool) {
		s := n.session(peer)
		return fmt.Sprintf("%+v", s), s.State == state
	})
}

// routes are the routes of a router's kernel to the addresses of the services.
func (n *net1) routes(router string) map[string]string {
	n.t.Helper()
	found := map[string]string{}
	for _, family := range []string{"-4", "-6"} {
		out, err := n.lab.Host(router).Run(n.t.Context(), "ip", family, "route", "show", "table", "all")
		if err != nil {
			n.t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			for _, vip := range []string{vip4, vip6} {
				if strings.HasPrefix(line, vip+" ") {
					found[vip] = strings.TrimSpace(line)
				}
			}
		}
	}
	return found
}

func (n *net1) awaitRoutes(router string, limit time.Duration, vips ...string) {
	n.t.Helper()
	n.await(fmt.Sprintf("routes %v in the kernel of %s", vips, router), limit, func() (string, bool) {
		found := n.routes(router)
		ok := len(found) == len(vips)
		for _, vip := range vips {
			ok = ok && found[vip] != ""
		}
		return fmt.Sprint(found), ok
	})
}

// watchRoutes tells of each change of the route to vip4 in the router's kernel.
func (n *net1) watchRoutes(router string) <-chan bool {
	n.t.Helper()
	ns, err := netns.GetFromName(n.lab.Host(router).Namespace())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = ns.Close() })
	updates, done := make(chan netlink.RouteUpdate, 64), make(chan struct{})
	n.t.Cleanup(func() { close(done) })
	if err := netlink.RouteSubscribeWithOptions(updates, done, netlink.RouteSubscribeOptions{Namespace: &ns}); err != nil {
		n.t.Fatal(err)
	}
	out := make(chan bool, 1024)
	go func() {
		for u := range updates {
			if u.Dst != nil && u.Dst.IP.String() == vip4 {
				out <- u.Type == 24 // RTM_NEWROUTE
			}
		}
	}()
	return out
}

// frr is FRRouting in a router.
type frr struct {
	n         *net1
	host      string
	directory string
	processes map[string]*lab.Process
	config    string
}

// directoryOf is a directory of its own for a program that runs as another user: those of the test are closed to it.
func (n *net1) directoryOf(name string) string {
	n.t.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		n.t.Fatal(err)
	}
	directory, err := os.MkdirTemp("", "speaker-"+name+"-")
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = os.RemoveAll(directory) })
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	if err := os.Chown(directory, uid, gid); err != nil {
		n.t.Fatal(err)
	}
	return directory
}

// startFRR starts zebra, bgpd and bfdd; config is what follows "router bgp".
func (n *net1) startFRR(host, config string) *frr {
	n.t.Helper()
	f := &frr{n: n, host: host, directory: n.directoryOf("frr"), processes: map[string]*lab.Process{}, config: config}
	for _, name := range []string{"zebra", "bfdd", "bgpd"} {
		f.run(name)
	}
	return f
}

func (f *frr) run(name string) {
	f.n.t.Helper()
	text := "frr defaults datacenter\n"
	if name == "bgpd" {
		text += f.config
	}
	path := filepath.Join(f.directory, name+".conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.n.t.Fatal(err)
	}
	args := []string{
		"/usr/lib/frr/" + name, "-f", path, "-i", filepath.Join(f.directory, name+".pid"), "-z", filepath.Join(f.directory, "zserv.api"),
		"--vty_socket", f.directory, "-P", "0", "-u", "frr", "-g", "frr", "--log", "stdout", "--log-level", "debug",
	}
	if name == "bfdd" {
		args = append(args, "--bfdctl", filepath.Join(f.directory, "bfdd.sock"))
	}
	p, err := f.n.lab.Host(f.host).Start(lab.Command{Name: name, Args: args})
	if err != nil {
		f.n.t.Fatal(err)
	}
	f.processes[name] = p
	f.n.await(name+" in "+f.host, 10*time.Second, func() (string, bool) {
		_, err := os.Stat(filepath.Join(f.directory, name+".vty"))
		return p.LogTail(5), err == nil && p.Running()
	})
}

// kill kills a daemon as a crash would.
func (f *frr) kill(name string) {
	f.processes[name].Kill()
	_ = os.Remove(filepath.Join(f.directory, name+".vty"))
}

// vtysh runs commands and returns what they print.
func (f *frr) vtysh(commands ...string) string {
	f.n.t.Helper()
	args := []string{"vtysh", "--vty_socket", f.directory}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	ctx, cancel := context.WithTimeout(f.n.t.Context(), 10*time.Second)
	defer cancel()
	out, err := f.n.lab.Host(f.host).Run(ctx, args...)
	if err != nil {
		f.n.t.Fatal(err)
	}
	return out
}

// awaitShow waits until what a command prints has a text, or, with a leading "!", has it no more.
func (f *frr) awaitShow(command string, wants ...string) {
	f.n.t.Helper()
	f.n.await(fmt.Sprintf("%s: %s %q", f.host, command, wants), 10*time.Second, func() (string, bool) {
		out := strings.Join(strings.Fields(f.vtysh(command)), " ")
		for _, want := range wants {
			text, not := strings.CutPrefix(want, "!")
			if strings.Contains(out, text) == not {
				return out, false
			}
		}
		return out, true
	})
}

// frrConfig is a bgpd with one neighbour per address family of the transport.
func frrConfig(asn int, neighbours string, extra ...string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "router bgp %d\n bgp router-id 192.0.2.1\n no bgp default ipv4-unicast\n no bgp ebgp-requires-policy\n no bgp network import-check\n", asn)
	b.WriteString(neighbours)
	for _, line := range extra {
		b.WriteString(line + "\n")
	}
	return b.String()
}

func addresses(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}
