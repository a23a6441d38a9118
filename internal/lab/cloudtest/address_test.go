package cloudtest

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/cloud"
	"github.com/cyphonic/cyphonic/internal/lab/load"
)

// Verification 1: whatever host, replica and path a registration takes, the NMS sees the true source address, and the
// traffic spreads evenly.
func TestEveryRegistrationIsSeenFromItsTrueAddress(t *testing.T) {
	c, ctx := use(t, 3*time.Minute)
	t.Run("before scaling", func(t *testing.T) { seenFromTrueAddress(ctx, t, c) })
	third := c.On(2, cloud.NMS)
	t.Run("during scaling", func(t *testing.T) {
		nobodyNotices(t, under(ctx, t, c, func() {
			for _, r := range third {
				must(t, r.Leave(ctx))
			}
			must(t, c.AwaitHosts(ctx, cloud.NMS, 2))
			seenFromTrueAddress(ctx, t, c)
		}))
	})
	t.Run("with fewer", func(t *testing.T) { seenFromTrueAddress(ctx, t, c) })
	for _, r := range third {
		must(t, r.Return(ctx))
	}
	must(t, c.AwaitHosts(ctx, cloud.NMS, 3))
	t.Run("after scaling", func(t *testing.T) { seenFromTrueAddress(ctx, t, c) })
}

// seenFromTrueAddress moves every device to a new port, registers it and asks what the NMS saw.
func seenFromTrueAddress(ctx context.Context, t *testing.T, c *cloud.Cloud) {
	t.Helper()
	if err := c.Load.Reopen(ctx, 32); err != nil {
		t.Error(err)
		return
	}
	seen, err := c.Load.Observations(ctx)
	if err != nil || len(seen) != 2*sources {
		t.Errorf("%d observations: %v", len(seen), err)
		return
	}
	wrong := 0
	for _, o := range seen {
		if o.Observed == o.Source {
			continue
		}
		if wrong++; wrong <= 5 {
			t.Errorf("%s sends from %s, the NMS sees %s", o.Device, o.Source, o.Observed)
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d observed addresses are wrong", wrong, len(seen))
	}
}

// even is how far a share may be from the mean.
const even = 0.10

func TestTrafficSpreadsEvenlyOverHostsAndReplicas(t *testing.T) {
	c, ctx := use(t, 3*time.Minute)
	t.Run("datagrams to the NMS", func(t *testing.T) {
		count := counting(ctx, t, c, cloud.NMS, "cyphonic_udp_datagrams_total", `direction="in"`)
		for range 6 { // a device has one flow at a time: several times 2,000 are needed for a share that chance does not blur
			must(t, c.Load.Reopen(ctx, 32))
		}
		evenly(t, count())
	})
	t.Run("logins at the AS", func(t *testing.T) {
		count := counting(ctx, t, c, cloud.AS, "cyphonic_as_logins_total", "")
		report, err := c.Load.Load(ctx, load.Plan{Rate: 300, Count: 9000, Kinds: []load.Kind{load.Login}})
		must(t, err)
		nobodyNotices(t, report)
		evenly(t, count())
	})
}

// counting notes a metric of all replicas of a service now and returns a function that tells how much it has grown.
func counting(ctx context.Context, t *testing.T, c *cloud.Cloud, s cloud.Service, name, labels string) func() map[*cloud.Replica]float64 {
	t.Helper()
	read := func() map[*cloud.Replica]float64 {
		values := make(map[*cloud.Replica]float64)
		for _, r := range c.Replicas {
			if r.Service == s {
				value, err := r.Counter(ctx, name, labels)
				must(t, err)
				values[r] = value
			}
		}
		return values
	}
	before := read()
	return func() map[*cloud.Replica]float64 {
		after := read()
		for r := range after {
			after[r] -= before[r]
		}
		return after
	}
}

func evenly(t *testing.T, byReplica map[*cloud.Replica]float64) {
	t.Helper()
	replicas, hosts := make(map[string]float64), make(map[string]float64)
	for r, n := range byReplica {
		replicas[r.Name] = n
		hosts[cloud.HostName(r.Host)] += n
	}
	for what, shares := range map[string]map[string]float64{"replica": replicas, "host": hosts} {
		text, worst := deviation(shares)
		t.Logf("by %s: %s; worst %.1f %% from even", what, text, 100*worst)
		if worst > even {
			t.Errorf("%ss: %.1f %% from even, want at most %.0f %%: %s", what, 100*worst, 100*even, text)
		}
	}
}

func deviation(shares map[string]float64) (text string, worst float64) {
	mean := 0.0
	for _, n := range shares {
		mean += n / float64(len(shares))
	}
	for name, n := range shares {
		text += fmt.Sprintf("%s %.0f ", name, n)
		worst = max(worst, math.Abs(n-mean)/mean)
	}
	return text, worst
}
