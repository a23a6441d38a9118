package cloudtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/cloud"
	"github.com/cyphonic/cyphonic/internal/lab/control"
)

// Every program of the cloud is replaced, host by host, by that of an earlier release, and then by the present one again, under
// load and under tunnels. CYPHONIC_PREVIOUS_BIN is a folder with the programs of the earlier release; without one both are
// the present ones, which tests the way but not the difference.
func TestRollingUpgradeAndDowngrade(t *testing.T) {
	previous := os.Getenv("CYPHONIC_PREVIOUS_BIN")
	if previous == "" {
		t.Log("no programs of an earlier release are given: everything changes to the same programs")
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

// replaceHost replaces the manager of a host, its speaker, and all its replicas together, by another build of them.
func replaceHost(ctx context.Context, t *testing.T, c *cloud.Cloud, host int, program string) {
	t.Helper()
	allHosts := func() {
		for _, s := range cloud.Announced() {
			must(t, c.AwaitHosts(ctx, s, c.Options().Hosts))
		}
	}
	t.Logf("%s host %d: manager", time.Now().Format(clock), host+1)
	replace(ctx, t, c.Plane.Managers[host], program)
	must(t, c.Plane.WaitReady(ctx, host))
	t.Logf("%s host %d: speaker", time.Now().Format(clock), host+1)
	replace(ctx, t, c.Speakers[host], program)
	allHosts()
	t.Logf("%s host %d: replicas", time.Now().Format(clock), host+1)
	must(t, leaveTogether(ctx, c.On(host, "")))
	for _, r := range c.On(host, "") {
		r.UseProgram(program)
		must(t, r.Start())
	}
	for _, r := range c.On(host, "") {
		must(t, r.AwaitReady(ctx))
	}
	allHosts()
	t.Logf("%s host %d: done", time.Now().Format(clock), host+1)
}

// replace lets a process end in order and starts another build of it.
func replace(ctx context.Context, t *testing.T, p *control.Process, program string) {
	t.Helper()
	must(t, p.Terminate(ctx))
	if err := p.Err(); err != nil {
		t.Fatalf("it ended with %v: %s", err, p.LogTail(5))
	}
	p.UseProgram(program)
	must(t, p.Start())
}
