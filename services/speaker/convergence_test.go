package speaker_test

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// The promise of the speaker: from the word of a replica to the kernel of the router in 200 ms, and back, in 99 of 100
// cases. FRR alone takes 50 ms (it collects changes for so long).
const promise = 200 * time.Millisecond

// What is measured gets the processor before the other work of the machine; a busy one gets three attempts.
func TestConvergence(t *testing.T) {
	n := newNet(t, "router")
	n.settings.Netfilter = true
	n.startFRR("router", frrConfig(64512, frrFour))
	n.put(service("nms"), advertisement("all", nil), peer("r4", routerIP4, 64512, nil))
	n.start()
	n.prefer(t.Context())
	n.awaitState("r4", "Established", 15*time.Second)
	c := convergence{n: n, changes: n.watchRoutes("router")}
	for attempt := 1; ; attempt++ {
		late := c.measure(fmt.Sprintf("nms-%d", attempt))
		if len(late) == 0 {
			return
		}
		if attempt == 3 {
			t.Fatalf("p99 over the promised %v: %v", promise, late)
		}
		t.Logf("attempt %d: over the promised %v: %v", attempt, promise, late)
	}
}

// prefer gives the processes of the lab, and this one, priority until the test ends.
func (n *net1) prefer(ctx context.Context) {
	n.t.Helper()
	renice := func(ctx context.Context, level string, pid int) {
		if out, err := exec.CommandContext(ctx, "renice", "-n", level, "-g", strconv.Itoa(pid)).CombinedOutput(); err != nil {
			n.t.Logf("priority not changed: %v: %s", err, out)
		}
	}
	for _, p := range n.lab.Processes() {
		renice(ctx, "-15", p.PID)
	}
	own := syscall.Getpgrp()
	renice(ctx, "-10", own)
	n.t.Cleanup(func() { renice(context.Background(), "0", own) })
}

type convergence struct {
	n       *net1
	changes <-chan bool
}

// until does something and says how long it takes until the route is there, or not.
func (c convergence) until(there bool, do func()) time.Duration {
	c.n.t.Helper()
	start := time.Now()
	do()
	for {
		select {
		case is := <-c.changes:
			if is == there {
				return time.Since(start)
			}
		case <-time.After(5 * time.Second):
			c.n.t.Fatalf("route there: want %v; %+v", there, c.n.report())
		}
	}
}

// measure returns what took too long.
func (c convergence) measure(name string) (late []string) {
	m := c.n.register(name, keyspace.ReplicaStarting)
	times := map[string][]time.Duration{}
	note := func(what string, d time.Duration) { times[what] = append(times[what], d) }
	for i := range 120 {
		note("ready → route", c.until(true, func() { m.say(keyspace.ReplicaReady) }))
		if i%6 > 0 {
			note("drain → withdrawn", c.until(false, func() { m.say(keyspace.ReplicaLeaving) }))
			continue
		}
		note("death → withdrawn", c.until(false, func() { _ = m.conn.Close() }))
		m = c.n.register(fmt.Sprintf("%s-%d", name, i), keyspace.ReplicaStarting)
	}
	_ = m.conn.Close()
	for what, all := range times {
		slices.Sort(all)
		round := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
		p99 := all[(len(all)*99+99)/100-1]
		text := fmt.Sprintf("%s: %d times, median %v, p99 %v, longest %v", what, len(all), round(all[len(all)/2]), round(p99), round(all[len(all)-1]))
		c.n.t.Log(text)
		if p99 > promise {
			late = append(late, text)
		}
	}
	return late
}
