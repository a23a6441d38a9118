package speaker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/services/speaker/bfd"
)

// secret is the content of a password file, or why there is none.
type secret struct {
	password Secret
	fault    string
}

// readSecrets gives the neighbours their passwords.
func (l *loop) readSecrets(now time.Time) {
	if now.Sub(l.secretsAt) < secretInterval {
		return
	}
	l.secretsAt = now
	l.secrets = map[string]secret{}
	for name, n := range l.resources.neighbours {
		n.Password, n.fault = "", ""
		if n.passwordSecret != "" {
			s, known := l.secrets[n.passwordSecret]
			if !known {
				password, err := readPassword(l.options.SecretsDirectory, n.passwordSecret)
				s = secret{password: password}
				if err != nil {
					s.fault = "passwordSecret: " + err.Error()
				}
				l.secrets[n.passwordSecret] = s
			}
			n.Password, n.fault = s.password, s.fault
		}
		l.resources.neighbours[name] = n
	}
}

func readPassword(directory, name string) (Secret, error) {
	if directory == "" {
		return "", errors.New("set speaker.secretsDirectory in the configuration of this host")
	}
	if name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return "", errors.New("want the name of a file in speaker.secretsDirectory")
	}
	path := filepath.Join(directory, name)
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular(): // a FIFO would wait for its writer
		return "", fmt.Errorf("%s is no regular file", path)
	case info.Mode().Perm()&0o027 != 0:
		return "", fmt.Errorf("%s has mode %04o, but others may not use it and its group may not write it: chmod 0600", path, info.Mode().Perm())
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, 2*maxPassword))
	if err != nil {
		return "", err
	}
	raw = bytes.TrimRight(raw, "\r\n")
	if len(raw) == 0 || len(raw) > maxPassword {
		return "", fmt.Errorf("%s must have 1 to %d bytes", path, maxPassword)
	}
	return Secret(raw), nil
}

// findHosts finds the other speakers that are on a link of this host, and the addresses that are the host's own.
func (l *loop) findHosts(now time.Time) {
	const interval, limit = 10 * time.Second, 64 // as many as the packet filter takes
	if now.Sub(l.hostsAt) < interval {
		return
	}
	l.hostsAt = now
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		l.options.Log.Warn("own addresses not found", "error", err)
		return
	}
	var links []netip.Prefix
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.IsSingleIP() && !prefix.Addr().IsLoopback() {
			links = append(links, prefix)
		}
	}
	l.hosts = onLink(l.options.Host, l.resources.speakers, links, limit)
	if own, err := ownAddresses(); err == nil {
		l.own = own
	}
}

// ownAddresses are those of the host's interfaces, but for loopback, where the packet filter puts addresses of services.
func ownAddresses() ([]netip.Addr, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var own []netip.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				own = append(own, prefix.Addr())
			}
		}
	}
	return own, nil
}

// onLink are the addresses of other hosts' speakers within the links, sorted.
func onLink(own string, speakers map[string][]netip.Addr, links []netip.Prefix, limit int) []netip.Addr {
	var out []netip.Addr
	for _, host := range slices.Sorted(maps.Keys(speakers)) {
		for _, a := range speakers[host] {
			near := slices.ContainsFunc(links, func(p netip.Prefix) bool { return p.Contains(a) && p.Addr() != a })
			if host != own && near && len(out) < limit {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// detect gives BFD its peers.
func (l *loop) detect(p plan) {
	if slices.Equal(p.bfd, l.bfdPeers) {
		return
	}
	if err := l.options.Detector.Set(p.bfd); err != nil {
		l.options.Log.Error("BFD not set up", "error", err)
		return
	}
	l.bfdPeers = slices.Clone(p.bfd)
	for a := range l.bfdDown {
		if !slices.ContainsFunc(p.bfd, func(b bfd.Peer) bool { return b.Address == a }) {
			delete(l.bfdDown, a)
		}
	}
}

// route gives the router the sessions and routes of the plan: first what has to go.
func (l *loop) route(now time.Time, p plan) (retry time.Time) {
	for name, have := range l.routes {
		for prefix := range have {
			if _, stays := p.routes[name][prefix]; !stays {
				l.try(now, name, l.options.Router.Withdraw(name, prefix), func() { delete(have, prefix) })
			}
		}
	}
	for name := range l.peers {
		if want, wanted := p.peers[name]; !wanted || l.isDown(want) {
			l.options.Router.RemovePeer(name)
			delete(l.peers, name)
			if !wanted {
				l.options.Router.Forget(name)
				delete(l.routes, name)
				delete(l.errors, name)
				delete(l.fullAt, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.peers)) {
		peer := p.peers[name]
		l.full(now, name)
		if have, there := l.peers[name]; there && have == peer || l.isDown(peer) || now.Before(l.routerAt) && l.errors[name] != "" {
			continue
		}
		l.try(now, name, l.options.Router.SetPeer(peer), func() { l.peers[name] = peer; delete(l.errors, name) })
	}
	for name, want := range p.routes {
		if _, there := l.peers[name]; !there {
			continue
		}
		have := l.routes[name]
		if have == nil {
			have = map[netip.Prefix]Attributes{}
			l.routes[name] = have
		}
		for prefix, attributes := range want {
			if old, there := have[prefix]; there && old.Equal(attributes) {
				continue
			}
			l.try(now, name, l.options.Router.Announce(name, prefix, attributes), func() { have[prefix] = attributes })
		}
	}
	if l.routerAt.After(now) {
		return l.routerAt
	}
	return time.Time{}
}

// try notes how a call of the router ended.
func (l *loop) try(now time.Time, peer string, err error, done func()) {
	if err == nil {
		done()
		return
	}
	l.metrics.routerErrs.Inc()
	if l.errors[peer] != err.Error() {
		l.options.Log.Error("BGP not set up, trying again", "peer", peer, "error", err)
	}
	l.errors[peer] = err.Error()
	l.routerAt = now.Add(routerRetry)
}

// isDown tells whether BFD has just lost the peer after it had been up. Some time later the session is tried again
// without BFD: routers such as FRR begin with BFD only when BGP is established.
func (l *loop) isDown(p Peer) bool {
	since, down := l.bfdDown[p.Address]
	return down && l.options.Now().Sub(since) < bfdHold
}

// full begins a session anew some time after it was shut down because of too many prefixes.
func (l *loop) full(now time.Time, name string) {
	if !l.sessions[name].Full {
		delete(l.fullAt, name)
		return
	}
	since, known := l.fullAt[name]
	if !known {
		l.fullAt[name] = now
		return
	}
	if now.Sub(since) >= fullHold {
		l.options.Router.RemovePeer(name)
		delete(l.peers, name)
		delete(l.fullAt, name)
	}
}
