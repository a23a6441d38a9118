package login

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// unsteady is an AS that treats its connections as the test says, by their number from 1.
func unsteady(t *testing.T, treat func(number int, conn *tls.Conn, serve func())) (*service, *atomic.Int64) {
	t.Helper()
	s := &service{}
	s.newTLS(t)
	s.newIssuer(t)
	count := new(atomic.Int64)
	s.listen(t, ServerTLS(s.certificate), func(conn *tls.Conn) {
		treat(int(count.Add(1)), conn, func() {
			exporter, err := Exporter(conn.ConnectionState())
			if err != nil {
				return
			}
			b, err := ReadFrame(conn)
			if err != nil {
				return
			}
			request, err := wire.ParseLoginRequest(b)
			if err != nil {
				return
			}
			_ = WriteFrame(conn, grantIfProven(s, request, exporter).Append(nil))
		})
	})
	return s, count
}

func TestALoginIsRepeatedOnANewConnection(t *testing.T) {
	for name, bad := range map[string]func(conn *tls.Conn){
		"closed before the request":         func(*tls.Conn) {},
		"closed without a word":             func(conn *tls.Conn) { _ = conn.NetConn().Close() },
		"closed after the request":          func(conn *tls.Conn) { _, _ = ReadFrame(conn) },
		"closed in the middle of an answer": func(conn *tls.Conn) { _, _ = ReadFrame(conn); _, _ = conn.Write([]byte{1, 0, 7}) },
	} {
		t.Run(name, func(t *testing.T) {
			s, connections := unsteady(t, func(number int, conn *tls.Conn, serve func()) {
				if number < DefaultAttempts {
					bad(conn)
					return
				}
				serve()
			})
			repeated := 0
			c, err := Dial(t.Context(), Options{Address: s.address, Trust: s.trust, Repeated: func(error) { repeated++ }})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Login(t.Context(), viewer, newKey(t), wire.CredentialToken{Token: "cye1.x"}); err != nil {
				t.Fatal(err)
			}
			if n := connections.Load(); n != DefaultAttempts || repeated != DefaultAttempts-1 {
				t.Errorf("%d connections, %d repetitions", n, repeated)
			}
		})
	}
}

func TestAClientOutlivesItsConnections(t *testing.T) {
	s, _ := unsteady(t, func(_ int, _ *tls.Conn, serve func()) { serve() }) // one login on each
	c := s.dial(t)
	for range 3 {
		if _, err := c.Login(t.Context(), viewer, newKey(t), wire.CredentialDeviceKey{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRepetitionsAreBounded(t *testing.T) {
	for name, row := range map[string]struct{ attempts, want int }{"by default": {0, DefaultAttempts}, "none wanted": {1, 1}, "two": {2, 2}} {
		t.Run(name, func(t *testing.T) {
			s, connections := unsteady(t, func(_ int, conn *tls.Conn, _ func()) { _, _ = ReadFrame(conn) })
			c, err := Dial(t.Context(), Options{Address: s.address, Trust: s.trust, Attempts: row.attempts})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Login(t.Context(), viewer, newKey(t), wire.CredentialDeviceKey{}); err == nil {
				t.Error("logged in")
			}
			if n := connections.Load(); int(n) != row.want {
				t.Errorf("%d connections, want %d", n, row.want)
			}
		})
	}
}

func TestASilentReplicaCostsAThirdOfTheTimeout(t *testing.T) {
	quiet := make(chan struct{})
	s, _ := unsteady(t, func(number int, _ *tls.Conn, serve func()) {
		if number == 1 {
			<-quiet // nothing can be said to the first connection any more
			return
		}
		serve()
	})
	const timeout = 3 * time.Second
	c, err := Dial(t.Context(), Options{Address: s.address, Trust: s.trust, Timeout: timeout, Repeated: func(error) { close(quiet) }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	if _, err := c.Login(t.Context(), viewer, newKey(t), wire.CredentialDeviceKey{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < timeout/3 || took > timeout*2/3 {
		t.Errorf("took %v", took)
	}
}

func TestWhatIsNotTheASIsNotAskedAgain(t *testing.T) {
	genuine, _ := unsteady(t, func(_ int, _ *tls.Conn, serve func()) { serve() })
	for name, options := range map[string]Options{
		"another certificate": {Address: genuine.address, Trust: newService(t, grantIfProven).trust},
		"another name":        {Address: genuine.address, Trust: genuine.trust, ServerName: "other.example"},
	} {
		dials := 0
		options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials++
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		if _, err := Dial(t.Context(), options); err == nil || dials != 1 {
			t.Errorf("%s: %d connections, %v", name, dials, err)
		}
	}
}

func TestCloseEndsALoginForGood(t *testing.T) {
	reached := make(chan struct{})
	s, connections := unsteady(t, func(_ int, conn *tls.Conn, _ func()) {
		_, _ = ReadFrame(conn)
		close(reached)
		_, _ = ReadFrame(conn)
	})
	c := s.dial(t)
	ended := make(chan error, 1)
	go func() {
		_, err := c.Login(context.Background(), viewer, newKey(t), wire.CredentialDeviceKey{})
		ended <- err
	}()
	<-reached
	_ = c.Close()
	if err := <-ended; !errors.Is(err, errClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Login(t.Context(), viewer, newKey(t), wire.CredentialDeviceKey{}); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
