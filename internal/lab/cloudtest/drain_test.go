package cloudtest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/cloud"
	"github.com/cyphonic/cyphonic/internal/lab/load"
)

// drainEvents is how often the replicas of a host leave in a run.
const drainEvents = 6

// drainRow is one setting of the evaluation: how long a replica that leaves serves on after it has said so.
type drainRow struct {
	name  string
	drain map[string]any
	kill  bool // it is not asked to leave at all
}

// drainRows are the settings that CYPHONIC_DRAIN_WAITS names. 0 means that a replica ends as soon as it is asked to.
func drainRows(t *testing.T) []drainRow {
	t.Helper()
	text := os.Getenv("CYPHONIC_DRAIN_WAITS")
	if text == "" {
		text = "0,2"
	}
	var rows []drainRow
	for field := range strings.SplitSeq(text, ",") {
		if field == "kill" {
			rows = append(rows, drainRow{name: "kill -9", kill: true})
			continue
		}
		n, err := strconv.Atoi(field)
		if err != nil || n < 0 {
			t.Fatalf("CYPHONIC_DRAIN_WAITS is %q: want numbers of seconds and kill, with commas between", text)
		}
		row := drainRow{name: fmt.Sprintf("%d s", n), drain: map[string]any{"wait": fmt.Sprintf("%ds", n)}}
		if n == 0 {
			row.drain = map[string]any{"wait": "0s", "handOver": "0s", "finish": "0s"}
		}
		rows = append(rows, row)
	}
	return rows
}

// drainResult counts requests whose first try was not answered.
type drainResult struct {
	sent, failed, late int
	leaving, surviving int // by the host to which the router sent the first try before the replicas left
	byKind             map[load.Kind]int
	longest            time.Duration
}

func (r drainResult) errors() int { return r.leaving + r.surviving }

// Verification 3: requests at a steady rate while, six times, all replicas of a host leave and come back. With enough
// waiting every request is answered at its first try; without, some are not. The whole evaluation is make eval-drain.
func TestErrorsByWaitingTime(t *testing.T) {
	requests, runs := number(t, "CYPHONIC_DRAIN_REQUESTS", 5000), number(t, "CYPHONIC_DRAIN_RUNS", 1)
	perSecond := number(t, "CYPHONIC_DRAIN_RATE", 150)
	rows := drainRows(t)
	took := time.Duration(requests/perSecond)*time.Second + 2*time.Minute
	c, ctx := use(t, time.Duration(len(rows)*runs)*took+time.Minute)
	all := make(map[string][]drainResult)
	for _, row := range rows {
		for run := range runs {
			result := drainRun(ctx, t, c, row, load.Plan{Rate: float64(perSecond), Count: requests})
			t.Logf("wait %s, run %d: %+v", row.name, run+1, result)
			all[row.name] = append(all[row.name], result)
		}
	}
	for _, r := range c.Replicas {
		must(t, r.Configure(nil)) // the next tests have the defaults again
	}
	results(t, "cloud-drain.md", drainTable(rows, all, perSecond))
	results(t, "cloud-drain.svg", drainChart(rows, all))
	for _, row := range rows {
		if row.kill || row.drain["finish"] != nil {
			continue
		}
		for run, result := range all[row.name] {
			if result.failed > 0 || result.errors() > 2*result.late { // as in nobodyNotices
				t.Errorf("wait %s, run %d: %d of %d first tries not answered (%d on leaving hosts, %d on others), %d failed, %d started late",
					row.name, run+1, result.errors(), result.sent, result.leaving, result.surviving, result.failed, result.late)
			}
		}
	}
}

// drainRun makes the requests of a plan while replicas leave.
func drainRun(ctx context.Context, t *testing.T, c *cloud.Cloud, row drainRow, plan load.Plan) drainResult {
	t.Helper()
	for _, r := range c.Replicas {
		must(t, r.Configure(row.drain))
	}
	restartAll(ctx, t, c) // so that the setting is in force
	whole(ctx, t, c)
	must(t, c.Load.Reopen(ctx, 32))
	type answer struct {
		report *load.Report
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		report, err := c.Load.Load(ctx, plan)
		done <- answer{report, err}
	}()
	every := time.Duration(float64(plan.Count)/plan.Rate*float64(time.Second)) / (drainEvents + 1)
	var moments []moment
	for event := range drainEvents {
		next := time.Now().Add(every)
		wait(ctx, every/4)
		moments = append(moments, leaveHost(ctx, t, c, event%c.Options().Hosts, row.kill))
		wait(ctx, time.Until(next))
	}
	a := <-done
	must(t, a.err)
	if a.report.Late > a.report.Total().Sent/50 {
		t.Logf("%d of %d requests were started late: the machine is too busy for this rate", a.report.Late, a.report.Total().Sent)
	}
	if len(a.report.Faults) > 0 {
		t.Logf("some of the %d faults:%s", len(a.report.Faults), firstFaults(a.report))
	}
	return attribute(ctx, t, a.report, moments)
}

// moment is when the replicas of a host began to leave, and how the router spread until then.
type moment struct {
	at       time.Time
	host     int
	snapshot *cloud.Snapshot
}

// leaveHost lets all replicas of a host leave at once and come back.
func leaveHost(ctx context.Context, t *testing.T, c *cloud.Cloud, host int, kill bool) moment {
	t.Helper()
	shared.snapshots++
	snapshot, err := c.Snapshot(ctx, shared.snapshots)
	must(t, err)
	m := moment{at: time.Now(), host: host, snapshot: snapshot}
	if kill {
		for _, r := range c.On(host, "") {
			r.Kill()
		}
	} else {
		must(t, leaveTogether(ctx, c.On(host, "")))
	}
	for _, s := range cloud.Announced() {
		must(t, c.AwaitHosts(ctx, s, c.Options().Hosts-1))
	}
	for _, r := range c.On(host, "") {
		must(t, r.Return(ctx))
	}
	for _, s := range cloud.Announced() {
		must(t, c.AwaitHosts(ctx, s, c.Options().Hosts))
	}
	return m
}

// restartAll restarts all replicas, host by host.
func restartAll(ctx context.Context, t *testing.T, c *cloud.Cloud) {
	t.Helper()
	for host := range c.Options().Hosts {
		must(t, leaveTogether(ctx, c.On(host, "")))
		for _, r := range c.On(host, "") {
			must(t, r.Start())
		}
		for _, r := range c.On(host, "") {
			must(t, r.AwaitReady(ctx))
		}
	}
}

// attribute counts each first try without an answer for the hosts that it was sent to before somebody left.
func attribute(ctx context.Context, t *testing.T, report *load.Report, moments []moment) drainResult {
	t.Helper()
	total := report.Total()
	result := drainResult{sent: total.Sent, failed: total.Failed, late: report.Late, longest: total.Max, byKind: make(map[load.Kind]int)}
	flows := make(map[int][]cloud.Flow)
	for _, f := range report.Faults {
		result.byKind[f.Kind]++
		last := 0
		for i, m := range moments {
			if !f.At.Before(m.at.Add(-time.Second)) { // what was sent just before may be caught on its way
				last = i
			}
		}
		flow := cloud.Flow{Protocol: "udp", From: f.Local, To: f.Remote}
		if f.Kind == load.Login {
			flow.Protocol = "tcp"
		}
		flows[last] = append(flows[last], flow)
	}
	for i, some := range flows {
		hosts, err := moments[i].snapshot.Hosts(ctx, some)
		must(t, err)
		for _, host := range hosts {
			if host == moments[i].host {
				result.leaving++
			} else {
				result.surviving++
			}
		}
	}
	result.surviving += report.Unnamed
	return result
}

func drainTable(rows []drainRow, all map[string][]drainResult, perSecond int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| waiting | runs | requests | first tries not answered | of these on leaving hosts | on surviving hosts | logins / registrations / directions | not answered after all repetitions | longest answer | started late by the generator |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range rows {
		var sum drainResult
		sum.byKind = make(map[load.Kind]int)
		for _, r := range all[row.name] {
			sum.sent, sum.failed, sum.leaving, sum.surviving = sum.sent+r.sent, sum.failed+r.failed, sum.leaving+r.leaving, sum.surviving+r.surviving
			sum.late += r.late
			sum.longest = max(sum.longest, r.longest)
			for kind, n := range r.byKind {
				sum.byKind[kind] += n
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d (%.3f %%) | %d | %d | %d / %d / %d | %d | %s | %d |\n", row.name, len(all[row.name]), sum.sent,
			sum.errors(), percent(sum.errors(), sum.sent), sum.leaving, sum.surviving,
			sum.byKind[load.Login], sum.byKind[load.Registration], sum.byKind[load.Direction], sum.failed, sum.longest.Round(time.Millisecond), sum.late)
	}
	fmt.Fprintf(&b, "\n%d requests per second; in each run the replicas of a host leave %d times.\n", perSecond, drainEvents)
	return b.String()
}

func percent(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

func drainChart(rows []drainRow, all map[string][]drainResult) string {
	c := chart{title: "Requests whose first try was not answered, by waiting time", unit: "% of requests", parts: []string{"on leaving hosts", "on surviving hosts"}}
	for _, row := range rows {
		sent, leaving, surviving := 0, 0, 0
		for _, r := range all[row.name] {
			sent, leaving, surviving = sent+r.sent, leaving+r.leaving, surviving+r.surviving
		}
		c.bars = append(c.bars, bar{row.name, []float64{percent(leaving, sent), percent(surviving, sent)}})
	}
	return c.svg()
}
