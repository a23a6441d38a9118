package as

import (
	"fmt"
	"io"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// grant makes the answer to a node or general node that has been authenticated.
func (c *Core) grant(now time.Time, snap *replica.Snapshot, s *replica.Subject,
	public identity.DevicePublic, assurance identity.Assurance,
) (wire.LoginResponse, error) {
	network := snap.Network(s.Network)
	if network == nil || s.FQDN == "" || !s.IPv4.IsValid() && !s.IPv6.IsValid() {
		return wire.LoginResponse{}, refuse(wire.LoginRetry, "no_address",
			"%s %q has no virtual address yet: see its conditions with cyphonicctl describe", s.Kind(), s.Name)
	}
	nms := snap.Services("nms")
	if len(nms) == 0 {
		return wire.LoginResponse{}, refuse(wire.LoginRetry, "no_nms",
			"no address of the NMS is known: apply a CloudService with service nms")
	}
	notAfter, err := c.notAfter(now)
	if err != nil {
		return wire.LoginResponse{}, err
	}
	certificate, err := c.issuer.Issue(identity.Certificate{
		Public: public, FQDN: s.FQDN, VirtualIPv4: s.IPv4, VirtualIPv6: s.IPv6, Network: s.Network,
		Assurance: assurance, NotBefore: c.notBefore(now), NotAfter: notAfter,
	})
	if err != nil {
		return wire.LoginResponse{}, fmt.Errorf("issue a certificate for %s %q: %w", s.Kind(), s.Name, err)
	}
	ticket := identity.Ticket{
		NodeID: public.NodeID(), Kind: wireKind(s), UID: s.UID, Name: s.Name, Network: s.Network, FQDN: s.FQDN,
		VirtualIPv4: s.IPv4, VirtualIPv6: s.IPv6, Assurance: assurance, NotAfter: notAfter,
		Adapter: s.Adapter,
	}
	if _, err := io.ReadFull(c.rand, ticket.SessionKey[:]); err != nil {
		return wire.LoginResponse{}, fmt.Errorf("read a session key: %w", err)
	}
	sealed, err := c.sealTicket(snap, ticket)
	if err != nil {
		return wire.LoginResponse{}, err
	}
	return wire.LoginResponse{
		Code: wire.LoginOK, Certificate: certificate.Raw(), Issuers: [][]byte{c.issuer.Certificate().Raw()},
		Ticket: sealed, SessionKey: ticket.SessionKey, NotAfter: notAfter.Unix(), ServerTime: now.Unix(),
		NMSIPv4: nms[0].IPv4, NMSIPv6: nms[0].IPv6,
		FQDN: s.FQDN, Domain: network.Domain, Network: network.Name,
		VirtualIPv4: s.IPv4, VirtualIPv6: s.IPv6, IPv4Prefix: network.IPv4Prefix, IPv6Prefix: network.IPv6Prefix,
	}, nil
}

func (c *Core) sealTicket(snap *replica.Snapshot, t identity.Ticket) ([]byte, error) {
	ring := snap.TicketKeys()
	if ring.Current.Key == ([32]byte{}) {
		return nil, refuse(wire.LoginRetry, "no_key", "the ticket key is not ready yet: try again")
	}
	sealed, err := identity.SealTicket(c.rand, ring, t)
	if err != nil {
		return nil, fmt.Errorf("seal the ticket: %w", err)
	}
	return sealed, nil
}

// grantAdapter makes the answer to an adapter: where the manager is and a
// token for it. An adapter itself has no virtual address and no tunnels.
func (c *Core) grantAdapter(now time.Time, snap *replica.Snapshot, s *replica.Subject) (wire.LoginResponse, error) {
	managers := snap.Services("manager")
	if len(managers) == 0 {
		return wire.LoginResponse{}, refuse(wire.LoginRetry, "no_manager",
			"no address of the manager is known: apply a CloudService with service manager")
	}
	ring := snap.AccessKeys()
	if ring.Current.Key == ([32]byte{}) {
		return wire.LoginResponse{}, refuse(wire.LoginRetry, "no_key", "the access key is not ready yet: try again")
	}
	notAfter := now.Add(grantLifetime).Truncate(time.Second)
	token, err := identity.SealAccessToken(c.rand, ring, identity.AccessClaims{Kind: s.Kind(), Name: s.Name, UID: s.UID, NotAfter: notAfter})
	if err != nil {
		return wire.LoginResponse{}, fmt.Errorf("seal the access token: %w", err)
	}
	addr := managers[0].IPv4
	if !addr.IsValid() {
		addr = managers[0].IPv6
	}
	return wire.LoginResponse{
		Code: wire.LoginOK, NotAfter: notAfter.Unix(), ServerTime: now.Unix(), Network: s.Network,
		ManagerURL: "https://" + addr.String(), ManagerToken: token,
	}, nil
}

// notAfter is the end of what is granted now: a day, or the issuer's own end.
func (c *Core) notAfter(now time.Time) (time.Time, error) {
	end := c.issuer.Certificate().NotAfter
	if !now.Before(end) {
		return time.Time{}, fmt.Errorf("the issuer certificate has ended on %s: make a new one with the root key", end.UTC().Format(time.RFC3339))
	}
	t := now.Add(grantLifetime).Truncate(time.Second)
	if end.Before(t) {
		t = end
	}
	return t, nil
}

// notBefore lets peers whose clocks are a little behind accept the certificate.
func (c *Core) notBefore(now time.Time) time.Time {
	t := now.Add(-clockTolerance).Truncate(time.Second)
	if begin := c.issuer.Certificate().NotBefore; t.Before(begin) {
		t = begin
	}
	return t
}

func wireKind(s *replica.Subject) wire.SubjectKind {
	switch s.Plural {
	case keyspace.Nodes:
		return wire.SubjectNode
	case keyspace.Adapters:
		return wire.SubjectAdapter
	}
	return wire.SubjectGeneralNode
}
