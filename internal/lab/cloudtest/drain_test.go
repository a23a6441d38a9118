package cloudtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	runs  int
	count int // of requests in a run
	order int // in tables

	results []drainResult
}

// drainRows are the settings that CYPHONIC_DRAIN_WAITS names, in the order in which they are tried; 5x2 is 5 s in two runs,
// 2:9000 is 2 s with 9,000 requests.
// 0 means that a replica ends as soon as it is asked to.
func drainRows(t *testing.T, requests int) []drainRow {
	t.Helper()
	text := os.Getenv("CYPHONIC_DRAIN_WAITS")
	if text == "" {
		text = "0,2"
	}
	runs := number(t, "CYPHONIC_DRAIN_RUNS", 1)
	var rows []drainRow
	for field := range strings.SplitSeq(text, ",") {
		field, count, own := strings.Cut(field, ":")
		field, times, several := strings.Cut(field, "x")
		row := drainRow{name: "kill -9", kill: field == "kill", runs: runs, count: requests, order: -1}
		var err error
		if own {
			row.count, err = strconv.Atoi(count)
		}
		if several && err == nil {
			row.runs, err = strconv.Atoi(times)
		}
		if !row.kill && err == nil {
			row.order, err = strconv.Atoi(field)
			row.name, row.drain = field+" s", map[string]any{"wait": field + "s"}
		}
		if err != nil || row.runs < 1 || row.count < 1 || !row.kill && row.order < 0 {
			t.Fatalf("CYPHONIC_DRAIN_WAITS is %q: want numbers of seconds and kill, with commas between, each with x and a number of runs and : and a number of requests if it likes", text)
		}
		if row.order == 0 {
			row.drain = map[string]any{"wait": "0s", "handOver": "0s", "finish": "0s"}
		}
		rows = append(rows, row)
	}
	return rows
}

// drainResult counts requests whose first try was not answered. Those that the machine is to blame for are apart.
type drainResult struct {
	Sent, Failed, Late int
	Machine            int // the generator stood still or was late, or others used the machine
	Leaving, Surviving int // by the host to which the router sent the first try before the replicas left
	ByKind             map[load.Kind]int
	Longest            time.Duration
}

func (r drainResult) errors() int { return r.Leaving + r.Surviving }

// Verification 3: requests at a steady rate while, six times, all replicas of a host leave and come back. With enough
// waiting every request is answered at its first try; without, some are not. The whole evaluation is make eval-drain.
func TestErrorsByWaitingTime(t *testing.T) {
	requests, perSecond := number(t, "CYPHONIC_DRAIN_REQUESTS", 5000), number(t, "CYPHONIC_DRAIN_RATE", 150)
	rows := drainRows(t, requests)
	limit := time.Minute
	for _, row := range rows {
		limit += time.Duration(row.runs) * (time.Duration(row.count/perSecond)*time.Second + 2*time.Minute)
	}
	c, ctx := use(t, limit)
	for i := range rows {
		row := &rows[i]
		for run := range row.runs {
			result := drainRun(ctx, t, c, *row, load.Plan{Rate: float64(perSecond), Count: row.count})
			t.Logf("wait %s, run %d: %+v", row.name, run+1, result)
			row.results = append(row.results, result)
		}
		known := withEarlier(t, drainRecord{row.name, row.order, perSecond, row.results})
		results(t, "cloud-drain.md", drainTable(known))
		results(t, "cloud-drain.svg", drainChart(known))
	}
	for _, r := range c.Replicas {
		must(t, r.Configure(nil)) // the next tests have the defaults again
	}
	for _, row := range rows {
		if row.kill || row.order == 0 {
			continue
		}
		for run, result := range row.results {
			if result.Failed > 0 || result.errors() > 0 {
				t.Errorf("wait %s, run %d: %d of %d first tries not answered (%d on leaving hosts, %d on others), %d failed; the machine was to blame for %d more",
					row.name, run+1, result.errors(), result.Sent, result.Leaving, result.Surviving, result.Failed, result.Machine)
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
	t.Logf("others used %.2f cores of the machine meanwhile\n%s", shared.machine.Mean(a.report.Begin), a.report)
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
	result := drainResult{Sent: total.Sent, Failed: total.Failed, Late: report.Late, Longest: total.Max, ByKind: make(map[load.Kind]int)}
	flows := make(map[int][]cloud.Flow)
	for _, f := range report.Faults {
		if blameless(f) {
			result.Machine++
			continue
		}
		result.ByKind[f.Kind]++
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
				result.Leaving++
			} else {
				result.Surviving++
			}
		}
	}
	result.Surviving += report.Unnamed
	return result
}

// drainRecord is a row as it is kept beside the table, so that rows can be made one by one.
type drainRecord struct {
	Name      string
	Order     int
	PerSecond int
	Results   []drainResult
}

// withEarlier puts a row in the place of an earlier one and returns all.
func withEarlier(t *testing.T, row drainRecord) []drainRecord {
	t.Helper()
	const name = "cloud-drain.json"
	var known []drainRecord
	content, err := os.ReadFile(filepath.Join(resultsDirectory(), name))
	if err == nil {
		err = json.Unmarshal(content, &known)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	known = append(slices.DeleteFunc(known, func(r drainRecord) bool { return r.Name == row.Name }), row)
	slices.SortStableFunc(known, func(a, b drainRecord) int { return a.Order - b.Order })
	content, err = json.MarshalIndent(known, "", "  ")
	must(t, err)
	results(t, name, string(content)+"\n")
	return known
}

func drainTable(rows []drainRecord) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| waiting | runs | requests/s | requests | first tries not answered | of these on leaving hosts | on surviving hosts | logins / registrations / directions | not answered after all repetitions | longest answer | for which the machine is to blame | started late by the generator |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range rows {
		sum := drainResult{ByKind: make(map[load.Kind]int)}
		for _, r := range row.Results {
			sum.Sent, sum.Failed, sum.Leaving, sum.Surviving = sum.Sent+r.Sent, sum.Failed+r.Failed, sum.Leaving+r.Leaving, sum.Surviving+r.Surviving
			sum.Late, sum.Machine = sum.Late+r.Late, sum.Machine+r.Machine
			sum.Longest = max(sum.Longest, r.Longest)
			for kind, n := range r.ByKind {
				sum.ByKind[kind] += n
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d (%.3f %%) | %d | %d | %d / %d / %d | %d | %s | %d | %d |\n", row.Name, len(row.Results), row.PerSecond, sum.Sent,
			sum.errors(), percent(sum.errors(), sum.Sent), sum.Leaving, sum.Surviving,
			sum.ByKind[load.Login], sum.ByKind[load.Registration], sum.ByKind[load.Direction], sum.Failed, sum.Longest.Round(time.Millisecond), sum.Machine, sum.Late)
	}
	fmt.Fprintf(&b, "\nIn each run the replicas of a host leave %d times.\n", drainEvents)
	return b.String()
}

func percent(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

func drainChart(rows []drainRecord) string {
	c := chart{title: "Requests whose first try was not answered, by waiting time", unit: "% of requests", parts: []string{"on leaving hosts", "on surviving hosts"}}
	for _, row := range rows {
		sent, leaving, surviving := 0, 0, 0
		for _, r := range row.Results {
			sent, leaving, surviving = sent+r.Sent, leaving+r.Leaving, surviving+r.Surviving
		}
		c.bars = append(c.bars, bar{row.Name, []float64{percent(leaving, sent), percent(surviving, sent)}})
	}
	return c.svg()
}
