package adapter

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/enrolment/astest"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/netconf/nstest"
	"github.com/cyphonic/cyphonic/internal/statusapi"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// fakeManager serves the list of adapter "gate" and takes states.
type fakeManager struct {
	server *http.Server
	url    string

	mu       sync.Mutex
	revision int
	items    map[string]api.GeneralNode
	watchers map[chan []byte]bool
	states   map[string]api.GeneralNodeStatus
}

func startManager(t *testing.T, certificate tls.Certificate) *fakeManager {
	t.Helper()
	m := &fakeManager{items: map[string]api.GeneralNode{}, watchers: map[chan []byte]bool{}, states: map[string]api.GeneralNodeStatus{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/adapters/gate/generalnodes", m.watch)
	mux.HandleFunc("PUT /api/v1/adapters/gate/generalnodes/{name}/status", m.putStatus)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	m.url = "https://" + listener.Addr().String()
	m.server = &http.Server{Handler: mux}
	go func() { _ = m.server.Serve(listener) }()
	t.Cleanup(func() { _ = m.server.Close() })
	return m
}

func line(kind string, g api.GeneralNode) []byte {
	g.SetType()
	object, _ := json.Marshal(g)
	b, _ := json.Marshal(map[string]any{"type": kind, "object": json.RawMessage(object)})
	return append(b, '\n')
}

func (m *fakeManager) watch(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer manager-token" {
		http.Error(w, `{"status":401,"title":"no"}`, http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	events := make(chan []byte, 64)
	m.mu.Lock()
	m.watchers[events] = true
	if r.URL.Query().Get("resourceVersion") == "" {
		for _, g := range m.items {
			_, _ = w.Write(line("ADDED", g))
		}
		_, _ = w.Write(line("BOOKMARK", api.GeneralNode{Metadata: api.ObjectMeta{ResourceVersion: fmt.Sprint(m.revision)}}))
	}
	m.mu.Unlock()
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e := <-events:
			_, _ = w.Write(e)
			w.(http.Flusher).Flush()
		}
	}
}

func (m *fakeManager) putStatus(w http.ResponseWriter, r *http.Request) {
	var g api.GeneralNode
	if err := json.NewDecoder(r.Body).Decode(&g); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	m.states[r.PathValue("name")] = g.Status
	m.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(g)
}

// set adds, changes or (with remove) takes away a general node and tells who watches.
func (m *fakeManager) set(name, mac string, remove bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revision++
	g := api.GeneralNode{
		Metadata: api.ObjectMeta{Name: name, Uid: "uid-" + name, ResourceVersion: fmt.Sprint(m.revision)},
		Spec:     api.GeneralNodeSpec{Network: "lab", Adapter: "gate", Mac: mac},
	}
	g.Default()
	kind := "ADDED"
	if remove {
		kind = "DELETED"
		delete(m.items, name)
	} else {
		m.items[name] = g
	}
	for w := range m.watchers {
		w <- line(kind, g)
	}
}

func (m *fakeManager) state(name string) api.GeneralNodeStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.states[name]
}

var cameras = map[string]astest.Device{
	"cam1": {FQDN: "cam1.lab.example", IPv4: netip.MustParseAddr("10.77.0.11"), Assurance: identity.AssuranceMAC},
	"cam2": {FQDN: "cam2.lab.example", IPv4: netip.MustParseAddr("10.77.0.12"), Assurance: identity.AssuranceMAC},
}

// gate is the adapter under test with its surroundings.
type gate struct {
	as      *astest.Server
	manager *fakeManager
	config  string
	socket  string
	stop    func()
}

func newGate(t *testing.T) *gate {
	t.Helper()
	nstest.Run(t, "ip", "link", "set", "lo", "up")
	for i := 1; i <= 2; i++ {
		port, ns := fmt.Sprintf("lan%d", i), fmt.Sprintf("gn%d", i)
		nstest.Run(t, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", nstest.Name(ns))
		nstest.Exec(t, ns, "ip", "link", "set", "eth0", "address", fmt.Sprintf("02:00:00:00:00:0%d", i), "up")
	}
	x := &gate{}
	x.as = astest.Start(t, func(r wire.LoginRequest) wire.LoginResponse {
		if r.Subject.Kind == wire.SubjectAdapter {
			return wire.LoginResponse{
				NotAfter: time.Now().Add(time.Hour).Unix(), ServerTime: time.Now().Unix(),
				ManagerURL: x.manager.url, ManagerToken: "manager-token",
			}
		}
		c, ok := r.Credential.(wire.CredentialAdapter)
		camera, known := cameras[r.Subject.Name]
		if !ok || !known || c.Adapter != "gate" || identity.Assurance(c.Assurance) != identity.AssuranceMAC {
			return astest.Refuse(wire.LoginDenied, "no")
		}
		return x.as.Grant(r, camera)
	})
	x.manager = startManager(t, x.as.TLS)
	dir := t.TempDir()
	trust, err := identity.EncodeTrust(x.as.Trust)
	if err != nil {
		t.Fatal(err)
	}
	x.config, x.socket = filepath.Join(dir, "adapter.yaml"), filepath.Join(dir, "adapter.sock")
	text, err := yaml.Marshal(map[string]any{
		"name": "gate", "authenticationService": x.as.Address, "stateDirectory": "state", "statusSocket": "adapter.sock",
		"passwordFile": "password", "lan": map[string]any{"interface": "cyt-lan", "ports": []string{"lan1", "lan2"}}, "tun": "cyt-tun",
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"adapter.yaml": text, "trust.json": trust, "password": []byte("secret")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// run starts the adapter and returns what stops it.
func (x *gate) run(t *testing.T) (stop func()) {
	t.Helper()
	config, err := LoadConfig(x.config)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(config, "test", slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Error("the adapter does not end")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func (x *gate) status(t *testing.T) Status {
	t.Helper()
	var s Status
	if err := statusapi.NewClient(x.socket).Status(context.Background(), &s); err != nil {
		return Status{}
	}
	return s
}

func (x *gate) eventually(t *testing.T, what string, within time.Duration, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > within {
			b, _ := json.MarshalIndent(x.status(t), "", " ")
			t.Fatalf("%s did not happen within %v; status %s", what, within, b)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(begin)
}

func reaches(ns string) bool {
	return nstest.Command(ns, "ping", "-c", "1", "-W", "1", "10.77.0.1").Run() == nil
}

const udhcpcScript = `#!/bin/sh
case "$1" in
deconfig) ip addr flush dev eth0 ;;
bound|renew) ip addr replace "$ip/$mask" dev eth0 ;;
esac
`

// lease4 lets a device get its address.
func lease4(t *testing.T, ns string) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(udhcpcScript), 0o755); err != nil {
		t.Fatal(err)
	}
	nstest.Exec(t, ns, "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "10", "-T", "1", "-s", script)
}

func TestLifeOfAnAdapter(t *testing.T) {
	if !nstest.Enter(t, "gn1", "gn2") {
		return
	}
	x := newGate(t)
	x.manager.set("cam1", "02:00:00:00:00:01", false)
	x.stop = x.run(t)
	x.eventually(t, "the list", 10*time.Second, func() bool { return len(x.status(t).GeneralNodes) == 1 })
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a device in the list comes up to the registration", x.comesUp},
		{"a new device is served within a second", x.newDevice},
		{"the resolver answers on the gateway", x.resolverAnswers},
		{"a removed device is cut off within a second, the other is not", x.removedDevice},
		{"keys are the owner's only", x.keysArePrivate},
		{"metrics", x.showsMetrics},
		{"the end leaves nothing behind and tells the manager", x.endsClean},
		{"a restart without the manager serves the known devices, which need not ask again", x.restartsWithoutManager},
	} {
		t.Run(step.name, step.run)
	}
}

func (x *gate) comesUp(t *testing.T) {
	lease4(t, "gn1")
	if !reaches("gn1") {
		t.Error("the gateway is not reached")
	}
	x.eventually(t, "report", 5*time.Second, func() bool { return x.manager.state("cam1").Phase == api.DevicePhaseRegistering })
	if s := x.manager.state("cam1"); len(s.NodeID) != 64 || len(s.Conditions) != 1 || s.Conditions[0].Type != "Ready" {
		t.Errorf("state = %+v", s)
	}
	s := x.status(t)
	if len(s.Locals) != 1 || s.Locals[0].FQDN != "cam1.lab.example" || s.GeneralNodes[0].Port != "lan1" {
		t.Errorf("status = %+v", s)
	}
}

func (x *gate) newDevice(t *testing.T) {
	if reaches("gn2") {
		t.Fatal("an unlisted device reaches the gateway")
	}
	x.manager.set("cam2", "02:00:00:00:00:02", false)
	d := x.eventually(t, "list change", time.Second, func() bool { return len(x.status(t).GeneralNodes) == 2 })
	t.Logf("effective after %v", d)
	lease4(t, "gn2")
	if !reaches("gn2") {
		t.Error("the gateway is not reached")
	}
}

func (x *gate) resolverAnswers(t *testing.T) {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", "10.77.0.1:53")
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	_, err := r.LookupHost(ctx, "cam2.lab.example") // the asker is the host itself, no general node
	if err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("error = %v, want a refusal", err)
	}
}

func (x *gate) removedDevice(t *testing.T) {
	begin := time.Now()
	x.manager.set("cam1", "02:00:00:00:00:01", true)
	x.eventually(t, "cut", time.Second, func() bool {
		return !strings.Contains(nstest.Run(t, "nft", "list", "table", "bridge", "cyphonic_adapter"), "02:00:00:00:00:01")
	})
	t.Logf("effective after %v", time.Since(begin))
	if reaches("gn1") || !reaches("gn2") {
		t.Error("the wrong device was cut off")
	}
	x.eventually(t, "removal of the key", 2*time.Second, func() bool {
		_, err := os.Stat(filepath.Join(filepath.Dir(x.config), "state", "generalnodes", "cam1.key"))
		return os.IsNotExist(err)
	})
}

func (x *gate) keysArePrivate(t *testing.T) {
	info, err := os.Stat(filepath.Join(filepath.Dir(x.config), "state", "generalnodes", "cam2.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func (x *gate) showsMetrics(t *testing.T) {
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", x.socket)
	}}}).Get("http://adapter/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var b bytes.Buffer
	_, _ = b.ReadFrom(response.Body)
	for _, want := range []string{`cyphonic_adapter_general_nodes{phase="Registering"} 1`, `cyphonic_adapter_guard_drops_total{reason="unlisted_mac"}`, "cyphonic_adapter_list_followed 1"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func (x *gate) endsClean(t *testing.T) {
	x.stop()
	left := nstest.Run(t, "nft", "list", "ruleset") + nstest.Run(t, "ip", "rule") + nstest.Run(t, "ip", "link")
	for _, s := range []string{"cyphonic_adapter", "7440", "cyt-lan", "cyt-tun"} {
		if strings.Contains(left, s) {
			t.Errorf("%s stayed", s)
		}
	}
	if s := x.manager.state("cam2"); s.Phase != api.DevicePhaseDown || s.Reason != reasonStopped {
		t.Errorf("last state = %+v", s)
	}
}

func (x *gate) restartsWithoutManager(t *testing.T) {
	_ = x.manager.server.Close()
	x.run(t)
	x.eventually(t, "cam2", 15*time.Second, func() bool { return reaches("gn2") })
}
