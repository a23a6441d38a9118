package cloudtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/cloud"
	"github.com/cyphonic/cyphonic/internal/lab/load"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

const (
	// replicasPerHost in the shared cloud.
	replicasPerHost = 2
	// sources of each family in the shared cloud.
	sources = 1000
	// calm is how long a load goes on before and after what is done to the cloud under it.
	calm = 1500 * time.Millisecond
	// rate of the load, in requests per second, under which things are done to the cloud.
	rate = 150
	// drainWait is how long replicas of the shared cloud serve on after they have said that they leave.
	drainWait = "2s"
	// retries that a client may need when a replica dies.
	retries = 3
	// clock is how times are written in logs.
	clock = "15:04:05.000"
	// shownFaults of a report are described in the log.
	shownFaults = 40
)

// fixture is what all tests share. It is set by TestMain, before any test.
type fixture struct {
	programs string
	nodes    map[string]*cloud.Node // of the running cloud, once a test has needed them
	// snapshots taken so far of how the router spreads
	snapshots int
	machine   cloud.Machine
	running   struct {
		sync.Mutex
		cloud *cloud.Cloud
	}
}

var shared fixture

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
			fmt.Println("SKIP: the tests of the cloud need root (network namespaces); CYPHONIC_UNPRIVILEGED=1 skips them")
			os.Exit(0)
		}
		fmt.Println("FAIL: the tests of the cloud need root (network namespaces); set CYPHONIC_UNPRIVILEGED=1 to skip them")
		os.Exit(1)
	}
	os.Exit(run(m))
}

// run is TestMain with defers.
func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	directory, err := os.MkdirTemp("", "cyphonic-cloudtest-")
	if err != nil {
		fmt.Println("FAIL:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(directory) }()
	if err := shared.findPrograms(ctx, directory); err != nil {
		fmt.Println("FAIL:", err)
		return 1
	}
	defer context.AfterFunc(ctx, func() { shared.close(false); _ = os.RemoveAll(directory); os.Exit(130) })()
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- shared.machine.Run(watching) }()
	code := m.Run()
	stopWatching()
	if err := <-watched; err != nil {
		fmt.Println("FAIL: watch the machine:", err)
		code = 1
	}
	if !shared.close(code != 0) && code == 0 {
		code = 1
	}
	return code
}

func (f *fixture) findPrograms(ctx context.Context, directory string) error {
	if f.programs = os.Getenv("CYPHONIC_BIN"); f.programs != "" {
		_, err := overlay.FindPrograms(f.programs)
		return err
	}
	f.programs = directory
	var flags []string
	if os.Getenv("CYPHONIC_RACE") == "1" {
		flags = append(flags, "-race")
	}
	_, err := overlay.BuildPrograms(ctx, directory, flags...)
	return err
}

// close ends the shared cloud and says whether no program of it raced or panicked.
func (f *fixture) close(failed bool) bool {
	f.running.Lock()
	defer f.running.Unlock()
	c := f.running.cloud
	if c == nil {
		return true
	}
	f.running.cloud, f.nodes = nil, nil
	good := true
	if err := aftermath(c); err != nil {
		fmt.Println("FAIL: after the tests:", err)
		good = false
	}
	if failed || !good {
		fmt.Println("evidence of the whole suite:", evidence("suite"), c.Lab.KeepEvidence(evidence("suite")))
	}
	if err := c.Close(); err != nil {
		fmt.Println("FAIL: remove the cloud:", err)
		good = false
	}
	return good
}

// aftermath looks for what no log may have.
func aftermath(c *cloud.Cloud) error {
	var failures error
	seen := make(map[string]bool)
	for _, p := range c.Lab.Processes() {
		if seen[p.LogPath] {
			continue
		}
		seen[p.LogPath] = true
		for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if strings.Contains(p.Log(), bad) {
				failures = errors.Join(failures, fmt.Errorf("the log of %s on %s has a %s", p.Name, p.Host, bad))
			}
		}
	}
	return failures
}

func evidence(name string) string {
	path, err := filepath.Abs(filepath.Join("../../../build/evidence/cloud", name))
	if err != nil {
		panic(err) // there is no current directory
	}
	return path
}

// use gives a test the shared cloud, with devices registered and every replica at work, within a time.
func use(t *testing.T, limit time.Duration) (*cloud.Cloud, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	shared.running.Lock()
	defer shared.running.Unlock()
	if shared.running.cloud == nil {
		begin := time.Now()
		c, err := cloud.Start(ctx, cloud.Options{
			Programs: shared.programs, Replicas: replicasPerHost, Sources: sources, Drain: map[string]any{"wait": drainWait},
		})
		shared.running.cloud = c
		if err == nil {
			err = c.StartDevices(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("the cloud stands and %d devices are registered after %.1f s", len(c.Devices), time.Since(begin).Seconds())
	}
	c := shared.running.cloud
	if c.Load == nil {
		t.Fatal("the cloud has no devices: an earlier failure")
	}
	whole(ctx, t, c)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("evidence: %s: %v", evidence(t.Name()), c.Lab.KeepEvidence(evidence(t.Name())))
		}
	})
	return c, ctx
}

// whole waits until every replica is ready and every host takes its share.
func whole(ctx context.Context, t *testing.T, c *cloud.Cloud) {
	t.Helper()
	for _, r := range c.Replicas {
		if !r.Running() {
			t.Fatalf("replica %s is not running: %s", r.Name, r.LogTail(5))
		}
		if err := r.AwaitReady(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range cloud.Announced() {
		if err := c.AwaitHosts(ctx, s, c.Options().Hosts); err != nil {
			t.Fatal(err)
		}
	}
}

// under does something while devices make requests at a steady rate, and reports what became of those.
func under(ctx context.Context, t *testing.T, c *cloud.Cloud, do func()) *load.Report {
	t.Helper()
	type result struct {
		report *load.Report
		err    error
	}
	done := make(chan result, 1)
	go func() {
		report, err := c.Load.Load(ctx, load.Plan{Rate: rate})
		done <- result{report, err}
	}()
	wait(ctx, calm)
	do()
	wait(ctx, calm)
	if err := c.Load.Stop(ctx); err != nil {
		t.Error(err)
	}
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	if r.report.Total().Sent < int(calm.Seconds()*rate) {
		t.Fatalf("there was no load:\n%s", r.report)
	}
	t.Logf("\n%s%s", r.report, firstFaults(r.report))
	return r.report
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// nobodyNotices wants every request answered, and at the first try unless the machine is to blame. No connection may break.
func nobodyNotices(t *testing.T, report *load.Report) {
	t.Helper()
	total, blamed := report.Total(), report.Unnamed
	for _, f := range report.Faults {
		if !blameless(f) {
			blamed++
		}
	}
	if broken := brokenLogins(report); total.Failed > 0 || broken > 0 || blamed > 0 {
		t.Errorf("of %d requests %d failed and %d needed repetition, %d of them for no fault of the machine, among them %d logins whose connection broke:%s",
			total.Sent, total.Failed, total.Retried, blamed, broken, firstFaults(report))
	}
}

// othersAllowed is how many cores others may use without being to blame for an answer that comes too late.
const othersAllowed = 0.5

// blameless says of a request that was answered, but not at the first try, that nobody in the lab is to blame: the
// generator was late or stood still, or others used the machine. A request that failed is never excused.
func blameless(f load.Fault) bool {
	return !f.Failed && (f.Stalled || shared.machine.Others(f.At, f.At.Add(min(f.Took, time.Second))) > othersAllowed)
}

// brokenLogins are those whose first connection did not just take too long.
func brokenLogins(report *load.Report) int {
	n := 0
	for _, f := range report.Faults {
		if f.Kind == load.Login && !strings.Contains(f.Error, "deadline exceeded") && !strings.Contains(f.Error, "i/o timeout") {
			n++
		}
	}
	return n
}

// retriesSuffice wants every request answered after at most that many repetitions by the client.
func retriesSuffice(t *testing.T, report *load.Report) {
	t.Helper()
	total := report.Total()
	if total.Failed > 0 || total.MostTries > 1+retries {
		t.Errorf("%d of %d requests failed, one needed %d tries:%s", total.Failed, total.Sent, total.MostTries, firstFaults(report))
	}
}

func firstFaults(report *load.Report) string {
	text := ""
	faults := slices.Clone(report.Faults)
	rank := map[load.Kind]int{load.Login: 0, load.Registration: 1, load.Direction: 2}
	slices.SortStableFunc(faults, func(a, b load.Fault) int {
		if a.Failed != b.Failed {
			return map[bool]int{true: -1, false: 1}[a.Failed]
		}
		return rank[a.Kind] - rank[b.Kind]
	})
	for _, f := range faults[:min(shownFaults, len(faults))] {
		text += fmt.Sprintf("\n  %s %s %s %s from %s to %s: %d tries in %s, failed %t, generator stalled %t, others used %.1f cores: %s",
			f.At.Format(clock), f.Kind, f.Device, f.Peer, f.Local, f.Remote, f.Tries, f.Took.Round(time.Millisecond), f.Failed, f.Stalled, shared.machine.Others(f.At, f.At.Add(min(f.Took, time.Second))), f.Error)
	}
	return text
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
