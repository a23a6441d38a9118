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

// DefaultTimeout bounds connecting and each login. A password login costs the AS about 50 ms of a core,
// and many devices may log in at once after an outage.
const DefaultTimeout = 15 * time.Second

// Options says where the AS is and how to know it.
type Options struct {
	Address    string         // host:port
	Trust      identity.Trust // TLSCA verifies the connection, Roots verify what comes over it
	ServerName string         // in the AS's TLS certificate; empty: the host of Address
	Timeout    time.Duration  // 0: DefaultTimeout
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

// Client is one connection to the AS. It is safe for concurrent use; logins are done one after another.
type Client struct {
	options  Options
	exporter []byte

	mu   sync.Mutex
	conn *tls.Conn
}

// Dial connects and finishes the TLS handshake.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	config, err := clientTLS(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	raw, err := o.Dial(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to the authentication service %s: %w: check the address, the network and firewalls (TCP), and that the service runs", o.Address, err)
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS with the authentication service %s: %w%s", o.Address, err, remedy(err)), raw.Close())
	}
	exporter, err := Exporter(conn.ConnectionState())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Client{options: o, exporter: exporter, conn: conn}, nil
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

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Login logs a node or an adapter in with its own key. It fails with *DeniedError, ErrRetry, ErrGrant or an
// error of the connection; after the latter the client is of no more use.
func (c *Client) Login(ctx context.Context, subject wire.Subject, key *identity.DeviceKey, credential wire.Credential) (*Grant, error) {
	public := key.Public()
	request := wire.LoginRequest{Subject: subject, Static: public.Static, Signing: public.Signing, Credential: credential}
	copy(request.Proof[:], key.Sign(Context(c.exporter, subject, public)))
	response, received, err := c.exchange(ctx, request)
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
	credential := wire.CredentialAdapter{
		Adapter:   adapterName,
		Signing:   adapterKey.Public().Signing,
		Assurance: uint8(a),
	}
	copy(credential.Proof[:], adapterKey.Sign(Context(c.exporter, subject, key.Public())))
	return c.Login(ctx, subject, key, credential)
}

// exchange sends one request and reads its response. A connection on which it failed is closed, because
// a late response would be taken for that of the next request.
func (c *Client) exchange(ctx context.Context, request wire.LoginRequest) (wire.LoginResponse, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	message, err := c.roundTrip(request.Append(nil))
	received := c.options.Now()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return wire.LoginResponse{}, time.Time{}, errors.Join(err, c.conn.Close())
	}
	response, err := wire.ParseLoginResponse(message)
	if err != nil {
		return wire.LoginResponse{}, time.Time{}, errors.Join(fmt.Errorf("answer of the authentication service: %w", err), c.conn.Close())
	}
	return response, received, nil
}

func (c *Client) roundTrip(message []byte) ([]byte, error) {
	if err := WriteFrame(c.conn, message); err != nil {
		return nil, err
	}
	return ReadFrame(c.conn)
}
