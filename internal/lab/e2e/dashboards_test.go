package e2e

import (
	"context"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/cyphonic/cyphonic/internal/catalogue"
	"github.com/cyphonic/cyphonic/manifests/grafana"
)

// emptyByNature are the selectors of panels and alerts that find nothing in a healthy network, and why.
func emptyByNature() map[string]string {
	return map[string]string{
		`ALERTS{`: "alerts that fire",
		`cyphonic_as_logins_total{outcome!="granted"}`:   "logins that are refused",
		`cyphonic_manager_requests_total{status=~"5.."}`: "requests that a manager fails",
	}
}

// TestPrometheusSeesTheNetworkAndEveryPanelHasData lets Debian's Prometheus scrape the cloud and, through the manager, the adapter, with the committed
// configuration and rules, and asks what the dashboards ask.
func TestPrometheusSeesTheNetworkAndEveryPanelHasData(t *testing.T) {
	s, ctx := use(t, 2*time.Minute)
	started := time.Now()
	p := s.startPrometheus(t, ctx)
	s.makeTraffic(t, ctx)
	for _, ready := range []string{
		`count(up{job="cyphonic-cloud"} == 1)`, `count(up{job="cyphonic-manager"} == 1)`, `count(up{job="cyphonic-adapters"} == 1)`,
		`cyphonic_adapter_list_followed{adapter="gateway", instance="gateway"} == 1`,
		`count_over_time(cyphonic_adapter_list_followed{adapter="gateway"}[1m]) >= 4`,
	} {
		if err := p.eventually(ctx, ready, 30*time.Second); err != nil {
			t.Fatalf("%v\n%s", err, p.process.LogTail(10))
		}
	}
	t.Run("every panel has data", func(t *testing.T) { p.panels(t, ctx) })
	t.Run("every rule has data", func(t *testing.T) { p.rules(t, ctx) })
	t.Run("what is scraped is in the catalogue", func(t *testing.T) { p.catalogue(t, ctx) })
	t.Run("what nodes have is in the catalogue", func(t *testing.T) { s.nodeMetrics(t, ctx) })
	if found, err := p.query(ctx, `ALERTS{alertstate="firing", severity="critical"}`); err != nil || len(found) > 0 {
		t.Errorf("critical alerts in a healthy network: %v, %v", found, err)
	}
	if log := p.process.Log(); strings.Contains(log, "level=error") || strings.Contains(log, "level=warn") {
		t.Errorf("Prometheus complains:\n%s", p.process.LogTail(10))
	}
	pushed, err := p.query(ctx, `sum(cyphonic_adapter_telemetry_pushed_bytes_total) / sum(cyphonic_adapter_telemetry_pushes_total)`)
	series, err2 := p.query(ctx, `count({adapter="gateway"})`)
	if err != nil || err2 != nil || len(pushed) != 1 || len(series) != 1 {
		t.Fatalf("%v, %v, %v, %v", pushed, err, series, err2)
	}
	t.Logf("after %.1f s; the adapter has %v series and pushes %v bytes at a time", time.Since(started).Seconds(), series[0].Value[1], pushed[0].Value[1])
}

// makeTraffic gives the panels something to show.
func (s *system) makeTraffic(t *testing.T, ctx context.Context) {
	t.Helper()
	desk := s.agents["desk"] // logs in anew: an AS that was started a moment ago has counted nobody
	desk.Process.Kill()
	if err := desk.Start(); err != nil {
		t.Fatal(err)
	}
	if err := desk.WaitRegistered(ctx); err != nil {
		t.Fatal(err)
	}
	s.echo(t, "cam1", 9050)
	cam1 := s.local(t, ctx, "cam1").VirtualIPv4
	s.reachable(t, ctx, "gamma", "delta")                               // through the relay
	if _, err := s.lookup(ctx, "cam1", "cam2", dns.TypeA); err != nil { // asks the adapter's resolver
		t.Fatal(err)
	}
	for range 2 {
		if err := s.exchangeTCP(ctx, "viewer", netip.AddrPortFrom(cam1, 9050), 256<<10); err != nil {
			t.Fatal(err)
		}
	}
}

// together does something for each of many, a few at once.
func together[T any](list []T, f func(T)) {
	var group sync.WaitGroup
	places := make(chan struct{}, 8)
	for _, x := range list {
		group.Go(func() {
			places <- struct{}{}
			f(x)
			<-places
		})
	}
	group.Wait()
}

func (p *scraper) panels(t *testing.T, ctx context.Context) {
	variables := strings.NewReplacer("$__rate_interval", "1m", "$adapter", "gateway", "$general_node", "cam1", "$instance", ".+")
	asked := 0
	for _, d := range grafana.Dashboards() {
		queries := d.Queries()
		asked += len(queries)
		together(queries, func(q grafana.Query) {
			expression := variables.Replace(q.Expr)
			if excused(expression) {
				return
			}
			if err := p.eventually(ctx, expression, 10*time.Second); err != nil {
				t.Errorf("%s, panel %s: %v", d.Title, q.Panel, err)
			}
		})
		for name, q := range d.VariableQueries() {
			selector := strings.TrimPrefix(variables.Replace(q[:strings.LastIndex(q, ", ")]), "label_values(")
			if err := p.eventually(ctx, selector, 5*time.Second); err != nil {
				t.Errorf("%s, variable %s: %v", d.Title, name, err)
			}
		}
	}
	if asked < 60 {
		t.Errorf("only %d queries", asked)
	}
}

// excused says whether an expression may be empty.
func excused(expression string) bool {
	for selector := range emptyByNature() {
		if strings.Contains(expression, selector) {
			return true
		}
	}
	return false
}

func (p *scraper) rules(t *testing.T, ctx context.Context) {
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Query, Health, LastError, Type string }
		}
	}
	if err := p.get(ctx, "/api/v1/rules", nil, &data); err != nil {
		t.Fatal(err)
	}
	seen := 0
	var wanted []string
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			seen++
			if r.Health != "ok" || r.LastError != "" {
				t.Errorf("%s: %s %s", r.Name, r.Health, r.LastError)
			}
			if r.Type == "recording" {
				wanted = append(wanted, r.Name)
			}
			for _, selector := range catalogue.Selectors(r.Query) {
				wanted = append(wanted, selector.Text)
			}
		}
	}
	together(wanted, func(expression string) {
		if excused(expression) {
			return
		}
		if err := p.eventually(ctx, expression, 10*time.Second); err != nil {
			t.Errorf("a rule makes or asks for %v", err)
		}
	})
	if seen < 30 {
		t.Errorf("only %d rules", seen)
	}
}

// catalogue holds every series that Prometheus has against the catalogue: name, type, labels, and how many values each label has.
func (p *scraper) catalogue(t *testing.T, ctx context.Context) {
	c, err := catalogue.Read("../../..")
	if err != nil {
		t.Fatal(err)
	}
	var types map[string][]struct{ Type string }
	if err := p.get(ctx, "/api/v1/metadata", nil, &types); err != nil {
		t.Fatal(err)
	}
	var series []map[string]string
	if err := p.get(ctx, "/api/v1/series", url.Values{"match[]": {`{__name__!=""}`}}, &series); err != nil {
		t.Fatal(err)
	}
	added := regexp.MustCompile(`^(up|ALERTS.*|scrape_.*|.+:.+:.+)$`) // by Prometheus and by rules
	values := make(map[string]map[string]bool)
	checked := 0
	for _, s := range series {
		name := s["__name__"]
		if added.MatchString(name) {
			continue
		}
		var labels []string
		for l, v := range s {
			if !slices.Contains([]string{"__name__", "job", "instance"}, l) {
				labels = append(labels, l)
			}
			key := name + "/" + l
			if values[key] == nil {
				values[key] = make(map[string]bool)
			}
			values[key][v] = true
		}
		kind := catalogue.Type("")
		if known := types[name]; len(known) > 0 {
			kind = catalogue.Type(known[0].Type)
		}
		checked++
		if fault := c.Unexpected(name, kind, labels); fault != "" {
			t.Errorf("%v: %s", s, fault)
		}
	}
	for key, found := range values {
		name, label, _ := strings.Cut(key, "/")
		if most, ok := c.Bound(name, label); ok && len(found) > most {
			t.Errorf("label %s of %s has %d values, the catalogue says at most %d", label, name, len(found), most)
		}
	}
	if checked < 400 {
		t.Errorf("only %d series", checked)
	}
}

// nodeMetrics holds what nodes and the adapter show on their sockets against the catalogue.
func (s *system) nodeMetrics(t *testing.T, ctx context.Context) {
	c, err := catalogue.Read("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, agent := range s.agents {
		text, err := agent.Metrics(ctx)
		if err != nil {
			t.Error(err)
			continue
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(text))
		if err != nil || len(families) < 30 {
			t.Errorf("%s: %d families, %v", name, len(families), err)
		}
		for metric, f := range families {
			for _, m := range f.GetMetric() {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetName())
				}
				if fault := c.Unexpected(metric, catalogue.Type(strings.ToLower(f.GetType().String())), labels); fault != "" {
					t.Errorf("%s: %s: %s", name, metric, fault)
				}
			}
		}
	}
}
