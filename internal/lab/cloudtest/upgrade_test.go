package cloudtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/cloud"
)

// The replicas are replaced host by host by those of the release before, and then by the present ones again, under load
// and under tunnels. CYPHONIC_PREVIOUS_BIN is a folder with the programs of the release before; without one both are
// the present ones, which tests the way but not the difference.
func TestRollingUpgradeAndDowngrade(t *testing.T) {
	previous := os.Getenv("CYPHONIC_PREVIOUS_BIN")
	if previous == "" {
		t.Log("no programs of an earlier release are given: replicas change to the same programs")
		previous = shared.programs
	}
	c, ctx := use(t, 6*time.Minute)
	streams := openStreams(ctx, t, c)
	for _, way := range []struct{ name, programs string }{{"to the release before", previous}, {"back", shared.programs}} {
		t.Run(way.name, func(t *testing.T) {
			nobodyNotices(t, under(ctx, t, c, func() {
				for host := range c.Options().Hosts {
					replaceHost(ctx, t, c, host, filepath.Join(way.programs, "cyphonicd"))
				}
			}))
		})
	}
	finishStreams(t, streams, time.Second)
}

// replaceHost lets all replicas of a host leave and starts another build of them.
func replaceHost(ctx context.Context, t *testing.T, c *cloud.Cloud, host int, program string) {
	t.Helper()
	must(t, leaveTogether(ctx, c.On(host, "")))
	for _, r := range c.On(host, "") {
		r.UseProgram(program)
		must(t, r.Start())
	}
	for _, r := range c.On(host, "") {
		must(t, r.AwaitReady(ctx))
	}
	for _, s := range cloud.Announced() {
		must(t, c.AwaitHosts(ctx, s, c.Options().Hosts))
	}
}
