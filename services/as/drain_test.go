package as

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// slow is a directory whose enrolments wait until the test lets them go.
type slow struct {
	*directory
	reached, proceed chan struct{}
}

func (d slow) Enrol(ctx context.Context, e replica.Enrolment) error {
	d.reached <- struct{}{}
	select {
	case <-d.proceed:
	case <-ctx.Done():
		return ctx.Err()
	}
	return d.directory.Enrol(ctx, e)
}

func viewerSubject() wire.Subject { return wire.Subject{Kind: wire.SubjectNode, Name: "viewer"} }

// A connection between two logins, a login under way and one that comes too late.
func TestADrainLetsLoginsUnderWayFinish(t *testing.T) {
	w := newWorld(t)
	s := slow{w.directory, make(chan struct{}), make(chan struct{})}
	w.core.directory = s
	address, server := startServer(t, w)
	idle := dial(t, w, address)
	if _, err := idle.Login(t.Context(), viewerSubject(), w.newKey(), wire.CredentialDeviceKey{}); err == nil {
		t.Fatal("a key that is not enrolled")
	}
	waitFor(t, "the idle connection", func() bool { return server.Residual() == 0 })
	busy := dial(t, w, address)
	granted := make(chan error, 1)
	key := w.newKey()
	go func() {
		_, err := busy.Login(t.Context(), viewerSubject(), key, wire.CredentialToken{Token: "cye1.x"})
		granted <- err
	}()
	<-s.reached
	if n := server.Residual(); n != 1 {
		t.Errorf("%d logins under way", n)
	}
	if err := server.Ready(); err != nil {
		t.Error(err)
	}

	if err := server.HandOver(t.Context()); err != nil {
		t.Error(err)
	}
	server.Refuse()
	server.Refuse() // twice changes nothing
	if err := server.Ready(); err == nil {
		t.Error("ready while it refuses")
	}
	waitFor(t, "the idle connection to be closed", func() bool {
		server.mu.Lock()
		defer server.mu.Unlock()
		return len(server.open) == 1
	})
	waitFor(t, "the listener to be closed", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(s.proceed)
	if err := <-granted; err != nil {
		t.Errorf("the login under way: %v", err)
	}
	waitFor(t, "nothing to be left", func() bool { return server.Residual() == 0 })
}

// What the kernel has accepted when the replica stops accepting is not reset.
func TestConnectionsInTheBacklogAreServed(t *testing.T) {
	w := newWorld(t)
	address, server := startServer(t, w)
	key := w.newKey()
	const devices = 50
	clients := make([]net.Conn, devices)
	for i := range clients {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		clients[i] = conn
	}
	server.Refuse()
	var group sync.WaitGroup
	for _, conn := range clients {
		group.Go(func() {
			c, err := login.Dial(t.Context(), login.Options{
				Address: address, Trust: w.trust, Attempts: 1,
				Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
			})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := c.Login(t.Context(), viewerSubject(), key, wire.CredentialToken{Token: "cye1.x"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	waitFor(t, "nothing to be left", func() bool { return server.Residual() == 0 })
}

// Somebody who connects and says nothing holds the drain up for a moment only.
func TestSilentConnectionsDoNotHoldADrainUp(t *testing.T) {
	w := newWorld(t)
	address, server := startServer(t, w)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	dial(t, w, address) // after its handshake it says nothing either
	waitFor(t, "both connections", func() bool { return server.Residual() == 2 })
	start := time.Now()
	server.Refuse()
	waitFor(t, "nothing to be left", func() bool { return server.Residual() == 0 })
	if took := time.Since(start); took > drainPatience+time.Second {
		t.Errorf("took %v", took)
	}
}

func TestReadyMeansThatLoginsCanBeGranted(t *testing.T) {
	w := newWorld(t)
	_, server := startServer(t, w)
	if err := server.Ready(); err != nil {
		t.Error(err)
	}
	w.directory.mu.Lock()
	w.directory.contents.Ticket = identity.Keyring{}
	w.directory.mu.Unlock()
	if err := server.Ready(); err == nil || !strings.Contains(err.Error(), "keys") {
		t.Errorf("without keys: %v", err)
	}
}

// Two replicas on one desired state: a device that repeats its login anywhere gets the same answer; another key does not.
func TestLoginsRaceAtTwoReplicas(t *testing.T) {
	w := newWorld(t)
	viewer := replica.Ref{Plural: keyspace.Nodes, Name: "viewer"}
	used := make(map[string]identity.DevicePublic)
	oneToken := &onceDirectory{directory: w.directory, used: used}
	w.core.directory = oneToken
	first, _ := startServer(t, w)
	trust := w.trust
	second, _ := startServer(t, w)
	trusts := map[string]identity.Trust{first: trust, second: w.trust}
	keys := []*identity.DeviceKey{w.newKey(), w.newKey()}
	var mu sync.Mutex
	granted := make(map[identity.DevicePublic]int)
	var group sync.WaitGroup
	const each = 20
	for address, trust := range trusts {
		for _, key := range keys {
			for range each {
				group.Go(func() {
					c, err := login.Dial(t.Context(), login.Options{Address: address, Trust: trust})
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					_, err = c.Login(t.Context(), viewerSubject(), key, wire.CredentialToken{Token: "cye1.x"})
					if denied := (*login.DeniedError)(nil); err != nil && !errors.As(err, &denied) {
						t.Error(err)
					}
					if err == nil {
						mu.Lock()
						granted[key.Public()]++
						mu.Unlock()
					}
				})
			}
		}
	}
	group.Wait()
	winner, _ := w.directory.Snapshot().Enrolled(w.directory.Snapshot().Subject(viewer))
	if len(granted) != 1 || granted[winner] != 2*each {
		t.Errorf("granted %v, want %d times the one key that is enrolled", granted, 2*each)
	}
}

// onceDirectory is a directory that lets one key use each token, as etcd does.
type onceDirectory struct {
	*directory
	mu   sync.Mutex
	used map[string]identity.DevicePublic
}

func (d *onceDirectory) Enrol(ctx context.Context, e replica.Enrolment) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if by, ok := d.used[e.TokenHash]; ok {
		if by != e.Public {
			return replica.ErrTokenUsed
		}
		return nil
	}
	d.used[e.TokenHash] = e.Public
	return d.directory.Enrol(ctx, e)
}
