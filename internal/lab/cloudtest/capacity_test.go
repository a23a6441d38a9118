package cloudtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/cloud"
	"github.com/cyphonic/cyphonic/internal/lab/load"
)

// burstLimit is how long 10,000 devices that come at once may have to wait.
const burstLimit = 30 * time.Second

// C10K: 10,000 TLS connections that stand at the same time are all served.
func TestTenThousandConnectionsAtOnce(t *testing.T) {
	c, ctx := use(t, 3*time.Minute)
	report, err := c.Load.Burst(ctx, number(t, "CYPHONIC_BURST", 10000), burstLimit)
	must(t, err)
	text := fmt.Sprintf("| connections at once | all stand after | all logins answered after | failed |\n|---|---|---|---|\n| %d | %.1f s | %.1f s | %d |\n",
		report.Connections, report.Connected.Seconds(), report.Served.Seconds(), report.Failed)
	results(t, "cloud-c10k.md", text)
	if report.Failed > 0 || report.Served > burstLimit {
		t.Errorf("%d of %d failed, the last was served after %s: %v", report.Failed, report.Connections, report.Served, report.Errors)
	}
}

// step of the evaluation of capacity.
type step struct {
	rate     int
	report   *load.Report
	as, nms  time.Duration // processor time of all replicas
	measured time.Duration
}

func (s step) cores() float64 { return (s.as + s.nms).Seconds() / s.measured.Seconds() }

// Verification 2, as far as it goes without an orchestrator: load in steps of 100 requests per second, with 1, 2 and 3
// replicas of each service. The whole evaluation is make eval-load.
func TestCoresByLoad(t *testing.T) {
	most, each := number(t, "CYPHONIC_LOAD_RATE", 200), seconds(t, "CYPHONIC_LOAD_SECONDS", 4)
	c, ctx := use(t, time.Hour)
	steps := make(map[int][]step)
	hosts := c.Options().Hosts
	for replicas := 1; replicas <= hosts; replicas++ {
		only(ctx, t, c, replicas)
		for perSecond := 100; perSecond <= most; perSecond += stepOf(perSecond) {
			s := measure(ctx, t, c, perSecond, each)
			steps[replicas] = append(steps[replicas], s)
			t.Logf("%d replicas, %d requests/s: %.2f cores\n%s", replicas, perSecond, s.cores(), s.report)
			if s.saturated() {
				break
			}
		}
	}
	all(ctx, t, c)
	results(t, "cloud-load.md", loadTable(steps, hosts))
	results(t, "cloud-load.svg", loadChart(steps, hosts))
	for replicas, list := range steps {
		for _, s := range list[:1] {
			if s.report.Total().FirstTryErrors() > 0 || s.cores() <= 0 {
				t.Errorf("%d replicas, %d requests/s, %.2f cores:%s", replicas, s.rate, s.cores(), firstFaults(s.report))
			}
		}
	}
}

// stepOf is 100 up to 600 requests per second, as in the thesis, and larger on the way to saturation.
func stepOf(perSecond int) int {
	if perSecond < 600 {
		return 100
	}
	return 200
}

// saturated: answers take long, fail, or the generator itself cannot keep the rate.
func (s step) saturated() bool {
	total := s.report.Total()
	return total.Failed > 0 || total.P99 > time.Second || s.report.Late > total.Sent/20
}

// measure makes requests at a rate and reads what the replicas used for them.
func measure(ctx context.Context, t *testing.T, c *cloud.Cloud, perSecond int, each time.Duration) step {
	t.Helper()
	used := func() map[cloud.Service]time.Duration {
		sum := make(map[cloud.Service]time.Duration)
		for _, r := range c.Replicas {
			if r.Running() {
				cpu, err := r.CPU()
				must(t, err)
				sum[r.Service] += cpu
			}
		}
		return sum
	}
	before, begin := used(), time.Now()
	report, err := c.Load.Load(ctx, load.Plan{Rate: float64(perSecond), Count: int(each.Seconds() * float64(perSecond))})
	must(t, err)
	after := used()
	return step{rate: perSecond, report: report, as: after[cloud.AS] - before[cloud.AS], nms: after[cloud.NMS] - before[cloud.NMS], measured: time.Since(begin)}
}

// only leaves one replica of AS and NMS on each of the first hosts.
func only(ctx context.Context, t *testing.T, c *cloud.Cloud, hosts int) {
	t.Helper()
	for _, r := range c.Replicas {
		if r.Service == cloud.TRS {
			continue
		}
		wanted := r.Host < hosts && c.On(r.Host, r.Service)[0] == r
		switch {
		case wanted && !r.Running():
			must(t, r.Return(ctx))
		case !wanted && r.Running():
			must(t, r.Leave(ctx))
		}
	}
	must(t, c.AwaitHosts(ctx, cloud.AS, hosts))
	must(t, c.AwaitHosts(ctx, cloud.NMS, hosts))
}

// all starts what only has ended.
func all(ctx context.Context, t *testing.T, c *cloud.Cloud) {
	t.Helper()
	for _, r := range c.Replicas {
		if !r.Running() {
			must(t, r.Return(ctx))
		}
	}
	whole(ctx, t, c)
}

func loadTable(steps map[int][]step, most int) string {
	var b strings.Builder
	b.WriteString("| replicas | requests/s | cores AS | cores NMS | cores | cores per replica | requests/s per core | p50 | p99 | repeated | failed |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for replicas := 1; replicas <= most; replicas++ {
		for _, s := range steps[replicas] {
			total := s.report.Total()
			note := ""
			if s.saturated() {
				note = " (saturated)"
			}
			fmt.Fprintf(&b, "| %d | %d%s | %.2f | %.2f | %.2f | %.2f | %.0f | %s | %s | %d | %d |\n", replicas, s.rate, note,
				s.as.Seconds()/s.measured.Seconds(), s.nms.Seconds()/s.measured.Seconds(), s.cores(), s.cores()/float64(replicas),
				float64(total.Sent)/s.measured.Seconds()/max(s.cores(), 0.001), total.P50.Round(100*time.Microsecond), total.P99.Round(100*time.Microsecond), total.Retried, total.Failed)
		}
	}
	return b.String()
}

func loadChart(steps map[int][]step, most int) string {
	c := chart{title: "Cores used by the replicas of AS and NMS", unit: "cores", parts: []string{"AS", "NMS"}}
	for _, s := range steps[most] {
		c.bars = append(c.bars, bar{fmt.Sprint(s.rate), []float64{s.as.Seconds() / s.measured.Seconds(), s.nms.Seconds() / s.measured.Seconds()}})
	}
	return c.svg()
}
