package cloudtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/cloud"
	"github.com/cyphonic/cyphonic/internal/lab/probe"
)

// relayBound is how long a relayed tunnel may stand still when its relay vanishes.
const relayBound = 3 * time.Second

// A replica that leaves in order costs nothing: nobody's first try stays without an answer, neither of those that it
// served nor of those that the router sends elsewhere because its host has left.
func TestNobodyNoticesThatReplicasLeaveAndReturn(t *testing.T) {
	for _, s := range []cloud.Service{cloud.AS, cloud.NMS} {
		t.Run(string(s)+", one of two on a host", func(t *testing.T) {
			c, ctx := use(t, 2*time.Minute)
			r := c.On(0, s)[0]
			nobodyNotices(t, under(ctx, t, c, func() {
				must(t, r.Leave(ctx))
				wait(ctx, calm)
				must(t, r.Return(ctx))
			}))
		})
		t.Run(string(s)+", all of a host", func(t *testing.T) {
			c, ctx := use(t, 2*time.Minute)
			nobodyNotices(t, under(ctx, t, c, func() {
				must(t, leaveTogether(ctx, c.On(1, s)))
				must(t, c.AwaitHosts(ctx, s, 2))
				wait(ctx, calm)
				for _, r := range c.On(1, s) {
					must(t, r.Return(ctx))
				}
				must(t, c.AwaitHosts(ctx, s, 3))
			}))
		})
	}
}

// leaveTogether asks all replicas to leave at once and waits until they have.
func leaveTogether(ctx context.Context, replicas []*cloud.Replica) error {
	results := make(chan error, len(replicas))
	for _, r := range replicas {
		go func() { results <- r.Leave(ctx) }()
	}
	for range replicas {
		if err := <-results; err != nil {
			return err
		}
	}
	return nil
}

// The operator's way to let a replica leave. Its process ends; who runs it starts another.
func TestDrainByCommand(t *testing.T) {
	c, ctx := use(t, 2*time.Minute)
	r := c.On(2, cloud.NMS)[1]
	nobodyNotices(t, under(ctx, t, c, func() {
		if _, err := c.Ctl(ctx, "drain", "replica/"+r.Name); err != nil {
			t.Error(err)
		}
		select {
		case <-r.Done():
			if err := r.Err(); err != nil {
				t.Errorf("it ended with %v: %s", err, r.LogTail(5))
			}
		case <-ctx.Done():
			t.Fatal("it does not end")
		}
	}))
	must(t, r.Return(ctx))
}

// Every replica of every service restarts, one after the other, under load and under tunnels: no request fails, and a
// TCP connection through each kind of tunnel stays whole.
func TestRollingRestart(t *testing.T) {
	c, ctx := use(t, 6*time.Minute)
	streams := openStreams(ctx, t, c)
	nobodyNotices(t, under(ctx, t, c, func() {
		for _, r := range c.Replicas {
			must(t, r.Leave(ctx))
			must(t, r.Return(ctx))
		}
	}))
	finishStreams(t, streams, time.Second)
}

// tunnel is a busy TCP connection between two nodes.
type tunnel struct {
	name   string
	stream *cloud.Stream
}

// openStreams opens one through a direct tunnel and one through a relayed one.
func openStreams(ctx context.Context, t *testing.T, c *cloud.Cloud) []tunnel {
	t.Helper()
	nodes := nodesOf(ctx, t, c)
	var all []tunnel
	for _, pair := range [][2]string{{"four", "vier"}, {"vier", "six"}} {
		// The first connection of a pair makes the tunnel.
		s, err := cloud.OpenStream(ctx, nodes[pair[0]], nodes[pair[1]])
		must(t, err)
		all = append(all, tunnel{fmt.Sprintf("%s to %s", pair[0], pair[1]), s})
	}
	wait(ctx, calm)
	return all
}

func finishStreams(t *testing.T, tunnels []tunnel, bound time.Duration) {
	t.Helper()
	for _, each := range tunnels {
		report, err := each.stream.Finish()
		t.Logf("tunnel %s: %d records, longest gap %s", each.name, report.Records, report.LongestGap.Round(time.Millisecond))
		judge(t, each.name, report, err, bound)
	}
}

func judge(t *testing.T, name string, report probe.StreamReport, err error, bound time.Duration) {
	t.Helper()
	switch {
	case err != nil:
		t.Errorf("the connection %s broke: %v", name, err)
	case report.Records < 50:
		t.Errorf("the connection %s carried %d records only", name, report.Records)
	case report.LongestGap > bound:
		t.Errorf("the connection %s stood still for %s, want at most %s", name, report.LongestGap, bound)
	}
}

// nodesOf starts the nodes of the shared cloud, once.
func nodesOf(ctx context.Context, t *testing.T, c *cloud.Cloud) map[string]*cloud.Node {
	t.Helper()
	if len(shared.nodes) == 0 {
		nodes, err := c.StartNodes(ctx)
		must(t, err)
		shared.nodes = nodes
	}
	return shared.nodes
}
