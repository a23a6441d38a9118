package login

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// ErrGrant says that the AS's answer does not fit the request or the trust file.
var ErrGrant = errors.New("login: the grant does not fit")

// Grant is what a login gives. An adapter gets ManagerURL and ManagerToken; a node and a general node get
// everything else.
type Grant struct {
	Certificate              []byte
	Issuers                  [][]byte // for identity.NewVerifier
	Ticket                   []byte
	SessionKey               [32]byte
	NotAfter                 time.Time // end of the ticket and certificate, in server time
	ServerTime               time.Time // when the AS answered, in whole seconds
	NMSIPv4, NMSIPv6         netip.AddrPort
	FQDN, Domain, Network    string
	VirtualIPv4, VirtualIPv6 netip.Addr
	IPv4Prefix, IPv6Prefix   netip.Prefix
	ManagerURL, ManagerToken string

	Received time.Time // local, with monotonic reading
}

// Now returns the server's time at local: ServerTime carried on by the local monotonic clock, so that a
// wrong or jumping wall clock changes nothing. local must come from the clock that Received came from.
func (g *Grant) Now(local time.Time) time.Time { return g.ServerTime.Add(local.Sub(g.Received)) }

// String redacts: a grant holds the session key and tokens.
func (*Grant) String() string { return "[redacted]" }

// GoString redacts.
func (*Grant) GoString() string { return "[redacted]" }

// LogValue redacts.
func (*Grant) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText redacts.
func (*Grant) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

func newGrant(m wire.LoginResponse, received time.Time, subject wire.Subject, public identity.DevicePublic, trust identity.Trust) (*Grant, error) {
	g := &Grant{
		Certificate: m.Certificate, Issuers: m.Issuers, Ticket: m.Ticket, SessionKey: m.SessionKey,
		NotAfter: time.Unix(m.NotAfter, 0).UTC(), ServerTime: time.Unix(m.ServerTime, 0).UTC(),
		NMSIPv4: m.NMSIPv4, NMSIPv6: m.NMSIPv6,
		FQDN: m.FQDN, Domain: m.Domain, Network: m.Network,
		VirtualIPv4: m.VirtualIPv4, VirtualIPv6: m.VirtualIPv6,
		IPv4Prefix: m.IPv4Prefix, IPv6Prefix: m.IPv6Prefix,
		ManagerURL: m.ManagerURL, ManagerToken: m.ManagerToken,
		Received: received,
	}
	if subject.Kind == wire.SubjectAdapter {
		if g.ManagerURL == "" || g.ManagerToken == "" {
			return nil, fmt.Errorf("%w: no manager URL or token", ErrGrant)
		}
		return g, nil
	}
	if err := g.check(public, trust); err != nil {
		return nil, err
	}
	return g, nil
}

// check holds the grant of a node or general node against the subject's keys and the trust file, so that an
// operator's mistake shows at the login and not as tunnels that no peer accepts.
func (g *Grant) check(public identity.DevicePublic, trust identity.Trust) error {
	verifier, err := identity.NewVerifier(trust, g.Issuers, g.ServerTime)
	if err != nil {
		return fmt.Errorf("%w: issuers: %w", ErrGrant, err)
	}
	c, err := verifier.Verify(g.Certificate, g.ServerTime)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrGrant, err)
	}
	switch {
	case c.Public != public:
		return fmt.Errorf("%w: the certificate is for another key", ErrGrant)
	case c.FQDN != g.FQDN || c.Network != g.Network:
		return fmt.Errorf("%w: the certificate names %s in %s, the grant %s in %s", ErrGrant, c.FQDN, c.Network, g.FQDN, g.Network)
	case c.VirtualIPv4 != g.VirtualIPv4 || c.VirtualIPv6 != g.VirtualIPv6:
		return fmt.Errorf("%w: the certificate names other virtual IPs than the grant", ErrGrant)
	case len(g.Ticket) == 0 || bytes.Equal(g.SessionKey[:], make([]byte, 32)):
		return fmt.Errorf("%w: no ticket or session key", ErrGrant)
	case !g.NMSIPv4.IsValid() && !g.NMSIPv6.IsValid():
		return fmt.Errorf("%w: no address of the node management service", ErrGrant)
	}
	return nil
}
