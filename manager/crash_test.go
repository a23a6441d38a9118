package manager

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

// childVariable tells the test program to be a manager; its value is the JSON
// of childOptions.
const childVariable = "CYPHONIC_TEST_MANAGER"

type childOptions struct{ Dir, Cert, Key, Hash string }

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		if err := beManager(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// beManager runs a manager on an embedded etcd and prints its address.
func beManager(text string) error {
	var o childOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	e, err := etcd.StartEmbedded(ctx, o.Dir, quiet())
	if err != nil {
		return err
	}
	defer e.Close()
	m, err := New(Options{
		Store: etcd.NewStore(e.Client()), Listen: "127.0.0.1:0", TLSCert: o.Cert, TLSKey: o.Key, AdminTokenHash: o.Hash,
		Registerer: prometheus.NewRegistry(), Log: quiet(),
	})
	if err != nil {
		return err
	}
	fmt.Println(m.Addr())
	return m.Run(ctx)
}

// child is a manager in a process of its own.
type child struct {
	cmd  *exec.Cmd
	base string
}

func startChild(t *testing.T, o childOptions) *child {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd}
	t.Cleanup(c.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child prints no address: %v", err)
	}
	c.base = "https://" + strings.TrimSpace(line)
	return c
}

// kill is kill -9.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait() // "signal: killed" is what is wanted
	}
}

// acknowledged is what the manager said it had done.
type acknowledged struct {
	mu      sync.Mutex
	present map[string]string // under mu: node → addresses
	deleted map[string]bool   // under mu
}

func TestNothingAcknowledgedIsLostOnKill(t *testing.T) {
	const rounds, writers = 3, 6
	c := newCredentials(t)
	o := childOptions{Dir: t.TempDir(), Cert: c.cert, Key: c.key, Hash: c.hash}
	a := &acknowledged{present: map[string]string{}, deleted: map[string]bool{}}
	for round := range rounds {
		manager := startChild(t, o)
		client := c.client()
		waitReady(t, client, manager.base)
		if round == 0 {
			mustDo(t, client, "POST", manager.base+"/api/v1/networks", c.token, 201, map[string]any{
				"apiVersion": "cyphonic/v1", "kind": "Network", "metadata": map[string]any{"name": "n"},
				"spec": map[string]any{"ipv4Prefix": "10.1.0.0/16", "ipv6Prefix": "fd00:1::/64", "domain": "n.example.internal"},
			})
		} else {
			a.compare(t, client, manager.base, c.token)
		}
		writeUntilKilled(t, c, a, manager, round, writers)
		client.CloseIdleConnections()
	}
	manager := startChild(t, o)
	waitReady(t, c.client(), manager.base)
	a.compare(t, c.client(), manager.base, c.token)
	if len(a.present) < rounds*writers || len(a.deleted) == 0 {
		t.Fatalf("only %d creations and %d deletions were acknowledged", len(a.present), len(a.deleted))
	}
	t.Logf("%d creations and %d deletions survived %d kills", len(a.present), len(a.deleted), rounds)
}

// writeUntilKilled lets writers create nodes, and delete every fourth, and
// kills the manager in the middle of it.
func writeUntilKilled(t *testing.T, c credentials, a *acknowledged, manager *child, round, writers int) {
	t.Helper()
	var written atomic.Int64
	enough := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			client := c.client()
			defer client.CloseIdleConnections()
			for i := 0; ; i++ {
				name := fmt.Sprintf("r%d-w%d-i%d", round, w, i)
				if !a.write(t, client, manager.base, c.token, name, i%4 == 3) {
					return // the manager was killed
				}
				if written.Add(1) >= 60 {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(60 * time.Second):
		t.Error("the writers are too slow")
	}
	manager.kill()
	wg.Wait()
}

func (a *acknowledged) write(t *testing.T, client *http.Client, base, token, name string, remove bool) bool {
	code, body, err := do(client, "PUT", base+"/api/v1/nodes/"+name, token, map[string]any{
		"apiVersion": "cyphonic/v1", "kind": "Node", "metadata": map[string]any{"name": name}, "spec": map[string]any{"network": "n"},
	})
	if err != nil {
		return false
	}
	if code != 201 {
		t.Errorf("create %s: %d %v", name, code, body)
		return false
	}
	a.mu.Lock()
	a.present[name] = addressesOf(body)
	a.mu.Unlock()
	if !remove {
		return true
	}
	a.mu.Lock()
	delete(a.present, name) // from here on it may or may not exist
	a.mu.Unlock()
	code, body, err = do(client, "DELETE", base+"/api/v1/nodes/"+name, token, nil)
	if err != nil {
		return false
	}
	if code != 200 {
		t.Errorf("delete %s: %d %v", name, code, body)
		return false
	}
	a.mu.Lock()
	a.deleted[name] = true
	a.mu.Unlock()
	return true
}

func addressesOf(node map[string]any) string {
	status, _ := node["status"].(map[string]any)
	return fmt.Sprint(status["virtualIPv4"], " ", status["virtualIPv6"], " ", status["fqdn"])
}

// compare checks everything that was acknowledged against the manager, and
// that no address is held twice.
func (a *acknowledged) compare(t *testing.T, client *http.Client, base, token string) {
	t.Helper()
	list := mustDo(t, client, "GET", base+"/api/v1/nodes", token, 200, nil)
	found := map[string]string{}
	holders := map[string]string{}
	for _, item := range list["items"].([]any) {
		node := item.(map[string]any)
		name := node["metadata"].(map[string]any)["name"].(string)
		found[name] = addressesOf(node)
		for _, address := range strings.Fields(found[name])[:2] {
			if other, ok := holders[address]; ok {
				t.Errorf("%s is held by %s and %s", address, other, name)
			}
			holders[address] = name
		}
	}
	for name, want := range a.present {
		if found[name] != want {
			t.Errorf("%s was acknowledged with %q and is %q", name, want, found[name])
		}
	}
	for name := range a.deleted {
		if got, ok := found[name]; ok {
			t.Errorf("%s was deleted and is back with %q", name, got)
		}
	}
	network := mustDo(t, client, "GET", base+"/api/v1/networks/n", token, 200, nil)
	if n := network["status"].(map[string]any)["ipv4Allocated"]; n != float64(len(found)) {
		t.Errorf("%v addresses are allocated for %d nodes", n, len(found))
	}
}

func mustDo(t *testing.T, client *http.Client, method, url, token string, want int, body any) map[string]any {
	t.Helper()
	code, out, err := do(client, method, url, token, body)
	if err != nil || code != want {
		t.Fatalf("%s %s: %d %v %v", method, url, code, out, err)
	}
	return out
}
