package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/overlay"
	"github.com/cyphonic/cyphonic/internal/lab/probe"
)

const (
	// rekeyBound is the age at which the keys of the lasting connection's tunnel must have been replaced.
	rekeyBound = 140 * time.Second
	// calmBound is how long a connection may pause whose path nothing disturbs, on a busy machine.
	calmBound = 3 * time.Second
)

// openLasting opens a connection that lasts from before the first test until after the last one: it sees new session
// keys, a crash of the cloud, and everything the tests do to other devices.
func (s *system) openLasting(ctx context.Context) (closeAll func(), err error) {
	status, err := s.agents["beta"].Status(ctx)
	if err != nil {
		return nil, err
	}
	beta, err := status.Local(fqdn("beta"))
	if err != nil {
		return nil, err
	}
	target := netip.AddrPortFrom(beta.VirtualIPv4, 9999)
	listener, err := s.lab.Host("beta").ListenTCP(target.String())
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- probe.ServeEcho(serving, listener) }()
	closeAll = func() {
		stop()
		<-ended
	}
	conn, err := s.lab.Host("four").Dial(ctx, "tcp", target.String())
	if err != nil {
		closeAll()
		return nil, err
	}
	s.lasting = newStream(ctx, conn, 20*time.Millisecond)
	return closeAll, s.lasting.progress(ctx, 10)
}

// checkLasting waits for new session keys, if the tests were faster, and wants the connection whole. Who runs selected
// tests only does not wait.
func (s *system) checkLasting(ctx context.Context) error {
	if flag.Lookup("test.run").Value.String() != "" {
		return s.lasting.finish(calmBound)
	}
	ctx, cancel := context.WithTimeout(ctx, rekeyBound)
	defer cancel()
	began := time.Now().Add(-s.lasting.age())
	rekeyed := func(status overlay.Status) error {
		peer, err := status.Peer(fqdn("four"), fqdn("beta"))
		if err != nil {
			return err
		}
		keys, connection := time.Duration(peer.EpochSeconds*float64(time.Second)), time.Since(began)
		if keys > connection-time.Second {
			return fmt.Errorf("after %v the session keys are as old as the connection", connection.Round(time.Second))
		}
		return nil
	}
	if err := s.agents["four"].Await(ctx, rekeyed); err != nil {
		return err
	}
	if err := errors.Join(s.lasting.progress(ctx, 20), s.lasting.finish(calmBound)); err != nil {
		return fmt.Errorf("the connection that lasted through all tests: %w", err)
	}
	return nil
}
