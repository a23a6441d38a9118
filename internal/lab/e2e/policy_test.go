package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// revokeBound is how long a change of policy may take to reach a tunnel in use.
const revokeBound = 5 * time.Second

// visitors lets viewer reach mallory, which no other policy mentions.
const visitors = `
apiVersion: cyphonic/v1
kind: AccessPolicy
metadata: {name: visitors}
spec:
  network: e2e
  from: [{names: [viewer]}]
  to: [{names: [mallory]}]
  rules: [{protocol: any}]
  minimumAssurance: mac
`

// pings sends echo requests all the time and notes when the last one was answered.
func (s *system) pings(t *testing.T, ctx context.Context, from, to string) (last *atomic.Int64) {
	ctx, cancel := context.WithCancel(ctx)
	last = new(atomic.Int64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if _, err := s.lab.Host(from).Run(ctx, "ping", "-n", "-c", "1", "-W", "1", to); err == nil {
				last.Store(time.Now().UnixNano())
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return last
}

// quiet waits until neither ping nor stream has moved for a second, and gives when the later one stopped.
func quiet(ctx context.Context, pinged *atomic.Int64, st *stream) (time.Time, error) {
	records, moved := st.report.Load().Records, time.Now()
	for {
		if n := st.report.Load().Records; n != records {
			records, moved = n, time.Now()
		}
		if at := time.Unix(0, pinged.Load()); at.After(moved) {
			moved = at
		}
		if time.Since(moved) > time.Second {
			return moved, nil
		}
		select {
		case <-ctx.Done():
			return moved, errors.New("traffic goes on")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestAPolicyReachesTunnelsInUse(t *testing.T) {
	s, ctx := use(t, 90*time.Second)
	remove := func() error {
		_, err := s.Ctl(context.Background(), "delete", "accesspolicy", "visitors", "--ignore-not-found")
		return err
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Apply(ctx, visitors); err != nil {
		t.Fatal(err)
	}
	s.echo(t, "mallory", 9040)
	s.echo(t, "desk", 9040)
	mallory := s.local(t, ctx, "mallory").VirtualIPv4
	s.reachable(t, ctx, "viewer", "mallory")
	untouched := s.openStream(t, ctx, "viewer", netip.AddrPortFrom(s.local(t, ctx, "desk").VirtualIPv4, 9040))
	st := s.openStream(t, ctx, "viewer", netip.AddrPortFrom(mallory, 9040))
	pinged := s.pings(t, ctx, "viewer", mallory.String())

	for range 2 {
		deleted := time.Now()
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		stopped, err := quiet(ctx, pinged, st)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("nothing passes %v after delete was called", stopped.Sub(deleted).Round(time.Millisecond))
		if took := stopped.Sub(deleted); took > revokeBound {
			t.Errorf("packets passed for another %v", took)
		}
		for _, end := range [][2]string{{"viewer", "mallory"}, {"mallory", "viewer"}} {
			status, err := s.agentOf(end[0]).Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if peer, err := status.Peer(fqdn(end[0]), fqdn(end[1])); err == nil {
				t.Errorf("%s still has a tunnel: %+v", end[0], peer)
			}
		}

		applied := time.Now()
		if err := s.Apply(ctx, visitors); err != nil {
			t.Fatal(err)
		}
		if err := s.movesAgain(ctx, pinged, st); err != nil {
			t.Fatal(err)
		}
		t.Logf("ping and TCP pass %v after apply was called", time.Since(applied).Round(time.Millisecond))
		if took := time.Since(applied); took > revokeBound {
			t.Errorf("ping and TCP took %v", took)
		}
	}
	if err := errors.Join(st.finish(2*revokeBound), untouched.finish(time.Second)); err != nil {
		t.Error(err)
	}
}

// movesAgain waits until both ping and stream are answered anew.
func (s *system) movesAgain(ctx context.Context, pinged *atomic.Int64, st *stream) error {
	since := pinged.Load()
	if err := st.progress(ctx, 20); err != nil {
		return err
	}
	for pinged.Load() == since {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no ping is answered: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
