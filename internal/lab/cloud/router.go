package cloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/control"
)

// Routing is the routing software of one router.
type Routing struct {
	host      *lab.Host
	software  Software
	directory string
	processes []*control.Process
}

// frrDaemons in the order of their start.
func frrDaemons() []string { return []string{"zebra", "bfdd", "bgpd"} }

// bgpRouter is what the configuration of a router says, in either software.
type bgpRouter struct {
	ID        string // router identifier
	ASN       int
	HoldTime  int
	Hosts     []bgpNeighbor // speakers, by iBGP
	Outside   []bgpNeighbor // by eBGP
	Announce4 []string      // prefixes of its own
	Announce6 []string
	BFD       bool
}

type bgpNeighbor struct {
	Address string
	ASN     int
	IPv6    bool
}

// routers are the routers of a design with their configuration.
func routers(o Options) map[string]bgpRouter {
	router := bgpRouter{ID: routerAddress4, ASN: cloudASN, HoldTime: o.HoldTime, BFD: !o.NoBFD}
	for i := range o.Hosts {
		router.Hosts = append(router.Hosts, bgpNeighbor{HostAddress4(i).String(), cloudASN, false}, bgpNeighbor{HostAddress6(i).String(), cloudASN, true})
	}
	if o.Design == Private {
		return map[string]bgpRouter{Router: router}
	}
	router.Outside = []bgpNeighbor{{peerAddress4, peerASN, false}, {peerAddress6, peerASN, true}}
	router.Announce4, router.Announce6 = []string{hostsPrefix4}, []string{hostsPrefix6}
	nodes4, nodes6 := nodePrefixes()
	peer := bgpRouter{
		ID: peerAddress4, ASN: peerASN, HoldTime: o.HoldTime, Announce4: append(nodes4, clientsPrefix4), Announce6: append(nodes6, clientsPrefix6),
		Outside: []bgpNeighbor{{borderAddress4, cloudASN, false}, {borderAddress6, cloudASN, true}},
	}
	return map[string]bgpRouter{Router: router, Peer: peer}
}

// newRouting prepares the software of a router; nothing runs yet.
func newRouting(host *lab.Host, software Software, directory string, config bgpRouter, keep bool) (*Routing, error) {
	r := &Routing{host: host, software: software, directory: directory}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	if software == BIRD {
		return r, r.prepareBIRD(config, keep)
	}
	return r, r.prepareFRR(config, keep)
}

func (r *Routing) path(name string) string { return filepath.Join(r.directory, name) }

func (r *Routing) prepareFRR(config bgpRouter, keep bool) error {
	for daemon, text := range config.frr() {
		if err := os.WriteFile(r.path(daemon+".conf"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	// The daemons give up root for this user, which makes their sockets here.
	if err := giveTo(r.directory, "frr", "frrvty"); err != nil {
		return fmt.Errorf("%w: install the package frr", err)
	}
	for _, daemon := range frrDaemons() {
		args := []string{
			"/usr/lib/frr/" + daemon, "-f", r.path(daemon + ".conf"), "-i", r.path(daemon + ".pid"), "-z", r.path("zserv.api"),
			"--vty_socket", r.directory, "-P", "0", "-u", "frr", "-g", "frr", "--log", "stdout", "--log-level", "warnings",
		}
		switch daemon {
		case "bfdd":
			args = append(args, "--bfdctl", r.path("bfdd.sock"))
		case "zebra":
			// Else it changes an IPv6 route by deleting it first, and what comes in between is lost.
			args = append(args, "--v6-rr-semantics")
		}
		r.processes = append(r.processes, control.NewProcess(r.host, lab.Command{Name: daemon, Args: args, KeepRunning: keep}))
	}
	return nil
}

func (r *Routing) prepareBIRD(config bgpRouter, keep bool) error {
	if err := os.WriteFile(r.path("bird.conf"), []byte(config.bird()), 0o644); err != nil {
		return err
	}
	r.processes = []*control.Process{control.NewProcess(r.host, lab.Command{
		Name: "bird", Args: []string{"bird", "-f", "-c", r.path("bird.conf"), "-s", r.path("bird.ctl")}, KeepRunning: keep,
	})}
	return nil
}

func giveTo(directory, owner, group string) error {
	u, err := user.Lookup(owner)
	if err != nil {
		return err
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return err
	}
	return os.Chown(directory, uid, gid)
}

// Start starts the software. The daemons of FRR find zebra's socket when they start, or much later.
func (r *Routing) Start(ctx context.Context) error {
	for _, name := range []string{"zserv.api", "bird.ctl"} {
		if err := os.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for i, p := range r.processes {
		if err := p.Start(); err != nil {
			return err
		}
		if i > 0 || r.software != FRR {
			continue
		}
		err := await(ctx, startTimeout, func() error {
			_, err := os.Stat(r.path("zserv.api"))
			return err
		})
		if err != nil {
			return fmt.Errorf("zebra: %w: %s", err, p.LogTail(3))
		}
	}
	return nil
}

// Kill ends the software at once, as a crash does. What it had put into the kernel stays until it starts again.
func (r *Routing) Kill() {
	for _, p := range r.processes {
		p.Kill()
	}
}

// Running tells whether all of it is.
func (r *Routing) Running() bool {
	for _, p := range r.processes {
		if !p.Running() {
			return false
		}
	}
	return true
}

// Show asks the software with a command of its own.
func (r *Routing) Show(ctx context.Context, command string) (string, error) {
	if r.software == BIRD {
		return r.host.Run(ctx, "birdc", "-s", r.path("bird.ctl"), command)
	}
	return r.host.Run(ctx, "vtysh", "--vty_socket", r.directory, "-c", command)
}

// Restart kills the software, forgets the routes that it had put into the kernel, as a router does that is switched off
// and on, and starts it again.
func (r *Routing) Restart(ctx context.Context) error {
	r.Kill()
	var failures error
	// FRR's routes go with their next hops, BIRD's have none.
	for _, flush := range [][]string{{"nexthop", "flush"}, {"-4", "route", "flush", "proto", "bird"}, {"-6", "route", "flush", "proto", "bird"}} {
		if _, err := r.host.Run(ctx, append([]string{"ip"}, flush...)...); err != nil {
			failures = errors.Join(failures, err)
		}
	}
	return errors.Join(failures, r.Start(ctx))
}

// hashLayer4 makes the kernel of a router spread by addresses and ports.
func hashLayer4(host *lab.Host) error {
	return host.Do(func() error {
		for _, name := range []string{"ipv4/fib_multipath_hash_policy", "ipv6/fib_multipath_hash_policy"} {
			if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte("1"), 0o644); err != nil && !errors.Is(err, syscall.ENOENT) {
				return err
			}
		}
		return nil
	})
}
