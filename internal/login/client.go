package login

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Options says where the AS is and how to know it.
type Options struct {
	Address    string         // host:port
	Trust      identity.Trust // TLSCA verifies the connection, Roots verify what comes over it
	ServerName string         // in the AS's TLS certificate; empty: the host of Address
	// Timeout bounds an attempt, connecting included. The first one has a third of it and the second one two thirds, so
	// that a replica which has vanished costs little and one that is busy gets its time. 0: DefaultTimeout.
	Timeout time.Duration
	// Attempts bounds how often a login is tried, on one connection each. 1: no repetition; 0: DefaultAttempts.
	Attempts int
	// Repeated is told why a login is repeated; nil: nobody.
	Repeated func(error)
	// Dial opens the TCP connection; nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock that grants are dated by; nil: time.Now.
	Now func() time.Time
}

// ErrRetry says that the AS cannot decide now: try again later, with back-off.
var ErrRetry = errors.New("login: the authentication service asks to try again later")

// DeniedError is a refusal by the AS. Trying again without changing something is useless.
type DeniedError struct {
	Code    wire.LoginCode
	Message string // for people: what to do next
}

func (e *DeniedError) Error() string {
	return "login refused (" + e.Code.String() + "): " + e.Message
}

// Client logs in at the AS over one connection, which it opens anew when it has ended. It is safe for concurrent use;
// logins are done one after another.
type Client struct {
	// constant
	options Options
	config  *tls.Config

	turn sync.Mutex // held by the one login that is under way

	// under mu
	mu     sync.Mutex
	link   *link // nil: none, the next login opens one
	closed bool
}

// link is one connection. A failed one is closed, because a late response would be taken for that of the next request.
type link struct {
	conn     *tls.Conn
	exporter []byte
}

// Dial connects and finishes the TLS handshake.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Attempts == 0 {
		o.Attempts = DefaultAttempts
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		// A replica whose host is gone is noticed while its answer is waited for.
		o.Dial = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
		}}).DialContext
	}
	config, err := clientTLS(o)
	if err != nil {
		return nil, err
	}
	c := &Client{options: o, config: config}
	err = c.repeat(ctx, func(ctx context.Context) error {
		_, err := c.connected(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// connected returns the open connection, or opens one.
func (c *Client) connected(ctx context.Context) (*link, error) {
	c.mu.Lock()
	l, closed := c.link, c.closed
	c.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	if l != nil {
		return l, nil
	}
	l, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.Join(errClosed, l.conn.Close())
	}
	c.link = l
	return l, nil
}

func (c *Client) connect(ctx context.Context) (*link, error) {
	o := c.options
	raw, err := o.Dial(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to the authentication service %s: %w: check the address, the network and firewalls (TCP), and that the service runs", o.Address, err)
	}
	conn := tls.Client(raw, c.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS with the authentication service %s: %w%s", o.Address, err, remedy(err)), raw.Close())
	}
	exporter, err := Exporter(conn.ConnectionState())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &link{conn: conn, exporter: exporter}, nil
}

// drop closes a connection and forgets it.
func (c *Client) drop(l *link) {
	c.mu.Lock()
	if c.link == l {
		c.link = nil
	}
	c.mu.Unlock()
	_ = l.conn.Close()
}

// remedy says what to do about a failed TLS handshake, if the cause is plain.
func remedy(err error) string {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return ": the trust file is not of this installation: copy its trust.json here, and check the address"
	case errors.As(err, new(x509.HostnameError)):
		return ": use an address that the service's certificate names (cyphonicctl init --address)"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ": check the clock of this device, then the service's certificate"
	}
	return ""
}

func clientTLS(o Options) (*tls.Config, error) {
	name := o.ServerName
	if name == "" {
		host, _, err := net.SplitHostPort(o.Address)
		if err != nil {
			return nil, fmt.Errorf("address of the authentication service %q: %w", o.Address, err)
		}
		name = host
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(o.Trust.TLSCA) {
		return nil, errors.New("trust file: tlsCA has no certificate to verify the authentication service with")
	}
	return &tls.Config{
		ServerName: name,
		RootCAs:    roots,
		Time:       o.Now,
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{ALPN},
	}, nil
}

// Close ends the connection, and a login that is under way.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.link == nil {
		return nil
	}
	l := c.link
	c.link = nil
	return l.conn.Close()
}

// Login logs a node or an adapter in with its own key. It fails with *DeniedError, ErrRetry, ErrGrant or an error of
// the connection. A login whose connection ends before its answer is repeated on a new one: the AS answers the same key
// the same way, also if it has consumed the token already.
func (c *Client) Login(ctx context.Context, subject wire.Subject, key *identity.DeviceKey, credential wire.Credential) (*Grant, error) {
	return c.login(ctx, subject, key, func([]byte) wire.Credential { return credential })
}

// login signs the request for the connection on which it is sent: credential gets what both proofs are over.
func (c *Client) login(ctx context.Context, subject wire.Subject, key *identity.DeviceKey, credential func(context []byte) wire.Credential) (*Grant, error) {
	public := key.Public()
	response, received, err := c.exchange(ctx, func(exporter []byte) wire.LoginRequest {
		signed := Context(exporter, subject, public)
		request := wire.LoginRequest{Subject: subject, Static: public.Static, Signing: public.Signing, Credential: credential(signed)}
		copy(request.Proof[:], key.Sign(signed))
		return request
	})
	if err != nil {
		return nil, fmt.Errorf("log in %s %s: %w", subject.Kind, subject.Name, err)
	}
	switch response.Code {
	case wire.LoginOK:
	case wire.LoginRetry:
		return nil, fmt.Errorf("log in %s %s: %w: %s", subject.Kind, subject.Name, ErrRetry, response.Message)
	default:
		return nil, fmt.Errorf("log in %s %s: %w", subject.Kind, subject.Name, &DeniedError{response.Code, response.Message})
	}
	grant, err := newGrant(response, received, subject, public, c.options.Trust)
	if err != nil {
		return nil, fmt.Errorf("log in %s %s: %w", subject.Kind, subject.Name, err)
	}
	return grant, nil
}

// LoginGeneralNode logs a general node in, whose key the adapter holds, on the word of the adapter.
func (c *Client) LoginGeneralNode(ctx context.Context, name string, key *identity.DeviceKey,
	adapterName string, adapterKey *identity.DeviceKey, a identity.Assurance,
) (*Grant, error) {
	subject := wire.Subject{Kind: wire.SubjectGeneralNode, Name: name}
	return c.login(ctx, subject, key, func(signed []byte) wire.Credential {
		credential := wire.CredentialAdapter{
			Adapter:   adapterName,
			Signing:   adapterKey.Public().Signing,
			Assurance: uint8(a),
		}
		copy(credential.Proof[:], adapterKey.Sign(signed))
		return credential
	})
}

// exchange sends one request and reads its response.
func (c *Client) exchange(ctx context.Context, build func(exporter []byte) wire.LoginRequest) (response wire.LoginResponse, received time.Time, err error) {
	c.turn.Lock()
	defer c.turn.Unlock()
	err = c.repeat(ctx, func(ctx context.Context) error {
		l, err := c.connected(ctx)
		if err != nil {
			return err
		}
		response, err = l.exchange(ctx, build(l.exporter))
		if err != nil {
			c.drop(l)
		}
		received = c.options.Now()
		return err
	})
	return response, received, err
}

// exchange fails when ctx ends.
func (l *link) exchange(ctx context.Context, request wire.LoginRequest) (wire.LoginResponse, error) {
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	message, err := l.roundTrip(request.Append(nil))
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return wire.LoginResponse{}, err
	}
	response, err := wire.ParseLoginResponse(message)
	if err != nil {
		return wire.LoginResponse{}, fmt.Errorf("%w: %w", errAnswer, err)
	}
	return response, nil
}

func (l *link) roundTrip(message []byte) ([]byte, error) {
	if err := WriteFrame(l.conn, message); err != nil {
		return nil, err
	}
	return ReadFrame(l.conn)
}
