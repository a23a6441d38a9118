package gobgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/log"

	"github.com/cyphonic/cyphonic/services/speaker"
)

const (
	// idleHold is how long after a loss a session is begun anew. GoBGP would wait for five seconds, with no way to say less.
	idleHold = time.Second
	// lookInterval is how old the counters of a session may be.
	lookInterval = time.Second
)

// settings of a peer as GoBGP has them.
func settings(p speaker.Peer) *api.Peer {
	conf := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: p.Address.String(), PeerAsn: p.PeerASN, LocalAsn: p.LocalASN, AuthPassword: string(p.Password),
		},
		Timers: &api.Timers{Config: &api.TimersConfig{
			ConnectRetry: uint64(p.ConnectRetry / time.Second), HoldTime: uint64(p.HoldTime / time.Second),
			KeepaliveInterval: max(1, uint64(p.HoldTime/time.Second)/3),
		}},
		Transport: &api.Transport{RemotePort: uint32(p.Port), PassiveMode: p.Passive},
	}
	if p.LocalAddress.IsValid() {
		conf.Transport.LocalAddress = p.LocalAddress.String()
	}
	if p.MultihopTTL > 0 {
		conf.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(p.MultihopTTL)}
	}
	if p.TTLSecurity {
		conf.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: 255}
	}
	for _, f := range families(p) {
		conf.AfiSafis = append(conf.AfiSafis, &api.AfiSafi{
			Config:       &api.AfiSafiConfig{Family: f, Enabled: true},
			PrefixLimits: &api.PrefixLimit{Family: f, MaxPrefixes: p.MaxReceived},
		})
	}
	return conf
}

// begin begins the session.
func (n *neighbour) begin(p speaker.Peer) error {
	n.log.begin(p)
	n.flaps.Store(0)
	n.peer, n.session, n.looked, n.lost = p, speaker.Session{State: speaker.Idle, Since: n.now()}, time.Time{}, false
	return n.open()
}

func (n *neighbour) open() error {
	if err := n.server.AddPeer(context.Background(), &api.AddPeerRequest{Peer: settings(n.peer)}); err != nil {
		return fmt.Errorf("begin the session: %w", err)
	}
	n.active = true
	if n.log.unprotected() { // GoBGP goes on without the password
		n.end()
		return errors.New("the system cannot ask the router for the password (TCP MD5)")
	}
	return nil
}

func families(p speaker.Peer) []*api.Family {
	var out []*api.Family
	if p.IPv4 {
		out = append(out, family(netip.IPv4Unspecified()))
	}
	if p.IPv6 {
		out = append(out, family(netip.IPv6Unspecified()))
	}
	return out
}

// end ends the session, if there is one. The prefixes stay in the server's table.
func (n *neighbour) end() {
	if !n.active {
		return
	}
	n.active = false
	_ = n.server.DeletePeer(context.Background(), &api.DeletePeerRequest{Address: n.peer.Address.String()}) // fails only if it is not there
	n.mu.Lock()
	n.up = false
	n.mu.Unlock()
}

// clear empties the server's table.
func (n *neighbour) clear() {
	for prefix := range n.prefixes {
		_ = n.withdraw(prefix) // fails only for what cannot have been announced
	}
}

// look asks the server how the session is.
func (n *neighbour) look() speaker.Session {
	now := n.now()
	if !n.dirty.Swap(false) && now.Sub(n.looked) < lookInterval {
		return n.session
	}
	n.looked = now
	request := &api.ListPeerRequest{Address: n.peer.Address.String(), EnableAdvertised: true}
	_ = n.server.ListPeer(context.Background(), request, func(p *api.Peer) { n.take(p, now) }) // fails only without a request
	if s := n.session; n.lost && s.State == speaker.Idle && !s.Full && now.Sub(s.Since) >= idleHold {
		n.lost = false
		n.end()
		n.active = true
		if err := n.open(); err != nil {
			n.log.Error("session not begun anew", log.Fields{"Error": err})
		}
	}
	return n.session
}

func (n *neighbour) take(p *api.Peer, now time.Time) {
	s := speaker.Session{State: stateOf(p.GetState().GetSessionState()), Since: n.session.Since, Flaps: n.flaps.Load()}
	if s.State != n.session.State {
		s.Since = now
	}
	s.Full = p.GetState().GetAdminState() == api.PeerState_PFX_CT
	for _, f := range p.GetAfiSafis() {
		s.Received += int(f.GetState().GetReceived())
		if s.State == speaker.Established {
			s.Advertised += int(f.GetState().GetAdvertised())
		}
	}
	if s.State == speaker.Established {
		s.Local, _ = netip.ParseAddr(p.GetTransport().GetLocalAddress())
	}
	s.Reason = n.log.reason()
	n.lost = n.lost || n.session.State == speaker.Established && s.State != speaker.Established
	n.session = s
}

func stateOf(s api.PeerState_SessionState) speaker.State {
	switch s {
	case api.PeerState_CONNECT:
		return speaker.Connect
	case api.PeerState_ACTIVE:
		return speaker.Active
	case api.PeerState_OPENSENT:
		return speaker.OpenSent
	case api.PeerState_OPENCONFIRM:
		return speaker.OpenConfirm
	case api.PeerState_ESTABLISHED:
		return speaker.Established
	default:
		return speaker.Idle
	}
}
