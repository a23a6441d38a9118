package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
)

const (
	managerURL    = "https://" + overlay.CloudIPv4 + ":7440"
	prometheusURL = "http://127.0.0.1:9090"
	manifests     = "../../../manifests"
)

// scraper is Debian's Prometheus in the host of the cloud, with the configuration of manifests/prometheus.
type scraper struct {
	client  *http.Client
	process *lab.Process
}

// startPrometheus starts it with an API token that may read metrics and nothing else. Only intervals, addresses and places of files differ from the committed
// configuration.
func (s *system) startPrometheus(t *testing.T, ctx context.Context) *scraper {
	t.Helper()
	directory := t.TempDir()
	token, err := s.Ctl(ctx, "token", "create", "--api", "prometheus", "--rule", "get:Metrics")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := s.Ctl(context.Background(), "delete", "apitoken", "prometheus"); err != nil {
			t.Error(err)
		}
	})
	rules, err := filepath.Abs(manifests + "/prometheus/rules")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(manifests + "/prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for _, change := range [][2]string{
		{"scrape_interval: 15s", "scrape_interval: 1s"},
		{"evaluation_interval: 15s", "evaluation_interval: 1s"},
		{"refresh_interval: 30s", "refresh_interval: 5s"},
		{"manager.example.net:7440", overlay.CloudIPv4 + ":7440"},
		{"rules/*.yaml", rules + "/*.yaml"},
		{"/etc/prometheus/cyphonic.token", directory + "/token"},
		{"/etc/prometheus/cyphonic-ca.pem", directory + "/ca.pem"},
		{"/etc/prometheus/cyphonic-nodes/", directory + "/nodes/"},
	} {
		if !strings.Contains(config, change[0]) {
			t.Fatalf("prometheus.yml does not have %q any more", change[0])
		}
		config = strings.ReplaceAll(config, change[0], change[1])
	}
	if err := os.Mkdir(filepath.Join(directory, "nodes"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"token": strings.TrimSpace(token), "ca.pem": string(s.authority(t)), "prometheus.yml": config} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cloud := s.lab.Host(overlay.Cloud)
	if _, err := cloud.Run(ctx, "promtool", "check", "config", filepath.Join(directory, "prometheus.yml")); err != nil {
		t.Fatal(err)
	}
	p := &scraper{client: s.cloudClient(t)}
	p.process, err = cloud.Start(lab.Command{Name: "prometheus", Args: []string{
		"prometheus", "--config.file=" + filepath.Join(directory, "prometheus.yml"), "--storage.tsdb.path=" + filepath.Join(directory, "data"),
		"--web.listen-address=127.0.0.1:9090", "--log.level=warn",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.process.Kill)
	return p
}

// authority is the CA of the manager's certificate.
func (s *system) authority(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Installation(), "trust.json"))
	if err != nil {
		t.Fatal(err)
	}
	var trust struct{ TLSCA string }
	if err := json.Unmarshal(b, &trust); err != nil || trust.TLSCA == "" {
		t.Fatalf("trust.json: %v", err)
	}
	return []byte(trust.TLSCA)
}

// cloudClient speaks HTTP from the host of the cloud.
func (s *system) cloudClient(t *testing.T) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.authority(t)) {
		t.Fatal("no certificate of the authority")
	}
	host := s.lab.Host(overlay.Cloud)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return host.Dial(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{RootCAs: roots},
	}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// get asks the API of Prometheus.
func (p *scraper) get(ctx context.Context, path string, parameters url.Values, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, prometheusURL+path+"?"+parameters.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// sample is one series of an answer.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (p *scraper) query(ctx context.Context, expression string) ([]sample, error) {
	var data struct{ Result []sample }
	err := p.get(ctx, "/api/v1/query", url.Values{"query": {expression}}, &data)
	return data.Result, err
}

// eventually asks until an expression has a result.
func (p *scraper) eventually(ctx context.Context, expression string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		found, err := p.query(ctx, expression)
		if err == nil && len(found) > 0 {
			return nil
		}
		if err == nil {
			err = errors.New("no data")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", expression, err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// adminToken is the operator's, out of the configuration that cyphonicctl wrote.
func (s *system) adminToken(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Installation(), "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(string(b)) {
		if strings.HasPrefix(word, "cym1.") {
			return word
		}
	}
	t.Fatal("no token in config.yaml")
	return ""
}

// managerPage is what the manager shows of the adapters.
func (s *system) managerPage(ctx context.Context, client *http.Client, token string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, managerURL+"/api/v1/telemetry/metrics", nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), err
}

// growing are all series of a page that only grow, as the adapter has them: without the label adapter.
func growing(page string) map[string]float64 {
	grows := make(map[string]bool)
	out := make(map[string]float64)
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if fields := strings.Fields(line); len(fields) == 4 && fields[1] == "TYPE" && fields[3] == "counter" {
			grows[fields[2]] = true
		}
		name, _, _ := strings.Cut(line, "{")
		name, _, _ = strings.Cut(name, " ")
		if !grows[name] {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		var value float64
		if _, err := fmt.Sscan(line[i+1:], &value); err != nil {
			continue
		}
		series := strings.NewReplacer(`adapter="`+adapterName+`",`, "", `{adapter="`+adapterName+`"}`, "").Replace(line[:i])
		out[series] = value
	}
	return out
}

// noCounterLost wants the manager to show, soon after it was killed and started again, at least what the adapter had counted before.
func (s *system) noCounterLost(t *testing.T, ctx context.Context, before map[string]float64) {
	t.Helper()
	client, token := s.cloudClient(t), s.adminToken(t)
	ctx, cancel := context.WithTimeout(ctx, 45*time.Second)
	defer cancel()
	for {
		page, err := s.managerPage(ctx, client, token)
		shown := growing(page)
		if err == nil && len(shown) > 0 {
			for series, value := range before {
				if shown[series] < value {
					t.Errorf("the manager shows %v for %s, the adapter had counted %v before the manager was lost", shown[series], series, value)
				}
			}
			return
		}
		select {
		case <-ctx.Done():
			t.Errorf("the manager shows nothing of the adapter after it was lost: %v", err)
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// ownCounters are what the adapter itself shows.
func (s *system) ownCounters(t *testing.T, ctx context.Context) map[string]float64 {
	t.Helper()
	page, err := s.agents["adapter"].Metrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	own := growing(page)
	if len(own) < 50 {
		t.Fatalf("the adapter has only %d counters", len(own))
	}
	return own
}
