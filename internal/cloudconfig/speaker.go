package cloudconfig

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

// ServiceSpeaker is the verb of the speaker. It is none of the services that
// the verb all runs: a fault of its parser must not take a service along.
const ServiceSpeaker = "speaker"

// Speaker configures what announces the services of the host by BGP.
type Speaker struct {
	// Socket is the unix socket at which the replicas of the host register.
	// Default: /run/cyphonic/speaker.sock.
	Socket string `json:"socket,omitempty"`
	// SocketMode is the octal mode of the socket: who may write to it may have
	// traffic of the services sent to any address that the host reaches. Default: "0660".
	SocketMode string `json:"socketMode,omitempty"`
	// SocketGroup is the group of the socket, by name or number. Default: that of
	// the process.
	SocketGroup string `json:"socketGroup,omitempty"`
	// RouterID is the BGP identifier, an IPv4 address that no other router of the
	// autonomous system has. Default: the IPv4 address of replica.addresses; without
	// one a number made from replica.host.
	RouterID string `json:"routerID,omitempty"`
	// SecretsDirectory has the files that passwordSecret of BGPPeers name.
	// Default: none, which leaves sessions with a password down.
	SecretsDirectory string `json:"secretsDirectory,omitempty"`
	// Addresses of the host on the links of its routers, at most one IPv4 and one
	// IPv6: other speakers show packets there that belong to connections they do
	// not know. Default: those from which the sessions are.
	Addresses []string `json:"addresses,omitempty"`
	// Listen are addresses of the host at which passive BGPPeers open the session:
	// each serves the one that has it as localAddress. Default: none; nothing
	// listens.
	Listen []string `json:"listen,omitempty"`
	// ListenPort is the TCP port there. Default: 179.
	ListenPort int `json:"listenPort,omitempty"`
	// GracefulShutdown is how long a route is announced with the community
	// graceful-shutdown before it is withdrawn, at most 1m. Default: 50ms.
	GracefulShutdown string `json:"gracefulShutdown,omitempty"`
	// StateFile keeps the last known resources, for a start while etcd is away.
	// Default: speaker.json in dataDirectory.
	StateFile string `json:"stateFile,omitempty"`
}

const (
	maxGracefulShutdown     = time.Minute
	defaultGracefulShutdown = 50 * time.Millisecond
	maxListen               = 8
	// stateFile is the default of Speaker.StateFile.
	stateFile = "speaker.json"
)

// SpeakerMaterial is the checked form of Speaker.
type SpeakerMaterial struct {
	SocketMode       fs.FileMode
	SocketGroup      int // -1: that of the process
	RouterID         netip.Addr
	Addresses        []netip.Addr
	Listen           []netip.Addr
	ListenPort       uint16
	GracefulShutdown time.Duration
	StateFile        string
}

func defaultSpeaker() Speaker {
	return Speaker{Socket: "/run/cyphonic/speaker.sock", SocketMode: "0660", ListenPort: 179}
}

func (s *Speaker) paths() []*string { return []*string{&s.Socket, &s.SecretsDirectory, &s.StateFile} }

func (c *Config) checkSpeaker(m *Material, add func(string, error)) {
	s, out := c.Speaker, &m.Speaker
	if s.Socket == "" {
		add("speaker.socket", errors.New("is missing: name the unix socket at which replicas register"))
	}
	mode, err := strconv.ParseUint(s.SocketMode, 8, 9)
	if err != nil || mode&0o007 != 0 {
		add("speaker.socketMode", fmt.Errorf("%q is no octal mode that keeps others out, as in 0660", s.SocketMode))
	}
	out.SocketMode = fs.FileMode(mode)
	out.SocketGroup, err = groupOf(s.SocketGroup)
	add("speaker.socketGroup", err)
	out.RouterID, err = routerID(s.RouterID, m.Replica)
	add("speaker.routerID", err)
	add("speaker.secretsDirectory", checkSecretsDirectory(s.SecretsDirectory))
	out.Addresses, err = parseAddresses(s.Addresses)
	add("speaker.addresses", err)
	out.Listen, err = parseListenAddresses(s.Listen)
	add("speaker.listen", err)
	if s.ListenPort < 1 || s.ListenPort > 65535 {
		add("speaker.listenPort", fmt.Errorf("is %d, must be 1 … 65535", s.ListenPort))
	}
	out.ListenPort = uint16(s.ListenPort)
	out.GracefulShutdown, err = drainTime(s.GracefulShutdown, defaultGracefulShutdown, maxGracefulShutdown)
	add("speaker.gracefulShutdown", err)
	if out.StateFile = s.StateFile; out.StateFile == "" && c.DataDirectory != "" {
		out.StateFile = filepath.Join(c.DataDirectory, stateFile)
	}
}

func groupOf(text string) (int, error) {
	if text == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return int(n), nil
	}
	group, err := user.LookupGroup(text)
	if err != nil {
		return -1, fmt.Errorf("%w: create it with groupadd, or remove the setting", err)
	}
	return strconv.Atoi(group.Gid)
}

func routerID(text string, r ReplicaMaterial) (netip.Addr, error) {
	if text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil || !a.Is4() || a.IsUnspecified() {
			return netip.Addr{}, fmt.Errorf("%q is no IPv4 address as in 192.0.2.1", text)
		}
		return a, nil
	}
	for _, a := range r.Addresses {
		if a.Is4() && !a.IsLoopback() {
			return a, nil
		}
	}
	// RFC 6286: any number but 0 that is unique within the autonomous system.
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.Host)) // never fails
	n := h.Sum32() | 1
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), nil
}

func parseListenAddresses(texts []string) ([]netip.Addr, error) {
	if len(texts) > maxListen {
		return nil, fmt.Errorf("has %d addresses, at most %d", len(texts), maxListen)
	}
	seen := map[netip.Addr]bool{}
	var out []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return nil, fmt.Errorf("%q is no address of a host", text)
		}
		if a = a.Unmap(); seen[a] {
			return nil, fmt.Errorf("%s is named twice", a)
		}
		seen[a] = true
		out = append(out, a)
	}
	return out, nil
}
