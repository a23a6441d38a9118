package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/program"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// withDrain makes the installation wait while it leaves, and listen for probes of others.
func withDrain(s *site, wait string) {
	s.edit("cloud/cyphonicd.yaml", "metrics: {", "health: {listen: \"127.0.0.1:0\"}\nreplica: {name: one, host: host-1, drain: {wait: "+wait+"}}\nmetrics: {")
}

// status is the answer of one of the two HTTP listeners.
func (s *site) status(listener, path string) int {
	s.t.Helper()
	response, err := http.Get("http://" + s.addresses[listener] + path)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func (s *site) logIn() error {
	c, err := login.Dial(s.t.Context(), login.Options{Address: s.addresses["as"], Trust: s.trust, Attempts: 1})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_, err = c.Login(s.t.Context(), wire.Subject{Kind: wire.SubjectNode, Name: "viewer"}, newDeviceKey(s.t), wire.CredentialDeviceKey{})
	return err
}

func (p *process) waitForExit(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(limit):
		p.t.Fatalf("cyphonicd runs on %v later", limit)
	}
	return p.command.ProcessState.ExitCode()
}

// The whole drain as a hook of an orchestrator makes it: not ready at once, everything served while the balancer is
// waited for, then nothing new, then the end.
func TestADrainServesOnUntilNothingComesAnyMore(t *testing.T) {
	s := newSite(t)
	const wait = 3 * time.Second
	withDrain(s, wait.String())
	cloud := s.start()
	s.apply(resources + services(s))
	for _, listener := range []string{"metrics", "health"} {
		if code := s.status(listener, "/readyz"); code != http.StatusOK {
			t.Errorf("%s: /readyz answers %d", listener, code)
		}
	}
	for path, want := range map[string]int{
		"/livez": http.StatusOK, "/metrics": http.StatusOK, "/drain": http.StatusNotFound, "/debug/pprof/": http.StatusNotFound, "/debug/locations": http.StatusNotFound,
	} {
		if code := s.status("health", path); code != want {
			t.Errorf("others get %d at %s, want %d", code, path, want)
		}
	}

	start := time.Now()
	drained := make(chan string, 1)
	go func() {
		var out bytes.Buffer
		if code := execute(t.Context(), []string{"drain", "--config", s.configPath()}, &out, &out); code != program.ExitOK {
			t.Errorf("cyphonicd drain: exit code %d", code)
		}
		drained <- out.String()
	}()
	for s.status("metrics", "/readyz") == http.StatusOK {
		if time.Since(start) > wait/2 {
			t.Fatal("/readyz does not fail")
		}
	}
	unready := time.Since(start)
	err := s.logIn()
	mustBeDenied(t, "a key that is not enrolled, while leaving", err, "token create")
	if served := time.Since(start); served > wait {
		t.Fatalf("the test is too slow: asked after %v", served)
	}
	out := <-drained
	if took := time.Since(start); took < wait {
		t.Errorf("drained after %v, which is not the wait", took)
	}
	if code := cloud.waitForExit(10 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Logf("not ready after %v, gone after %v:\n%s", unready.Round(time.Millisecond), time.Since(start).Round(time.Millisecond), out)
	for _, text := range []string{"as: Leaving, ", "nms: Leaving, ", "trs: Leaving, ", "manager: ", "\n" + drainedText + "\n"} {
		if !strings.Contains(out, text) {
			t.Errorf("the progress does not say %q:\n%s", text, out)
		}
	}
}

// Asked in etcd, one service leaves and the others go on.
func TestOneReplicaIsAskedToDrain(t *testing.T) {
	s := newSite(t)
	withDrain(s, "0s")
	cloud := s.start()
	s.apply(resources + services(s))
	await(t, "the records of all replicas", func() bool {
		list := s.ctl("get", "replicas")
		return strings.Contains(list, "as-one") && strings.Contains(list, "nms-one") && strings.Contains(list, "trs-one") && strings.Contains(list, "manager-one")
	})
	s.ctl("drain", "replica/as-one", "--force")
	await(t, "the AS to be gone", func() bool { return s.logIn() != nil && !strings.Contains(s.ctl("get", "replicas"), "as-one") })
	if code := s.status("metrics", "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d without the AS", code)
	}
	if text := s.getText("/metrics"); !strings.Contains(text, `cyphonic_replica_state{service="nms",state="Ready"} 1`) {
		t.Error("the NMS does not go on")
	}
	if code := cloud.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestDrainOfNobody(t *testing.T) {
	s := newSite(t)
	s.edit("cloud/cyphonicd.yaml", `metrics: {listen: "127.0.0.1:0"}`, `metrics: {listen: "127.0.0.1:1"}`)
	var out bytes.Buffer
	code := execute(t.Context(), []string{"drain", "--config", s.configPath()}, &out, &out)
	if code != program.ExitFailure || !strings.Contains(out.String(), "does cyphonicd run on this host") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}

// Whatever a browser on the host can be made to ask does not drain.
func TestWhoMayAskToDrain(t *testing.T) {
	for name, row := range map[string]struct {
		host   string
		header http.Header
		ok     bool
	}{
		"operator":           {"127.0.0.1:7490", nil, true},
		"by name":            {"localhost:7490", nil, true},
		"IPv6":               {"[::1]:7490", nil, true},
		"page":               {"127.0.0.1:7490", http.Header{"Origin": {"https://example.org"}}, false},
		"image on a page":    {"127.0.0.1:7490", http.Header{"Sec-Fetch-Site": {"cross-site"}}, false},
		"rebound name":       {"evil.example:7490", nil, false},
		"name without port":  {"evil.example", nil, false},
		"address of another": {"192.0.2.1:7490", nil, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/drain", nil)
		r.Host = row.host
		for k, v := range row.header {
			r.Header[k] = v
		}
		if why := foreign(r); (why == "") != row.ok {
			t.Errorf("%s: %q", name, why)
		}
	}
}
