package scale

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/lab/control"
)

// world is a manager with a fleet, and who speaks to it.
type world struct {
	t       *testing.T
	fleet   *fleet
	samples samples
	plane   *control.Plane
	http    *http.Client
	admin   *client.Client
	table   *table
}

func fleetSize(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CYPHONIC_SCALE_GENERALNODES")
	if text == "" {
		return smallFleet
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1000 || n > 4_000_000 {
		t.Fatalf("CYPHONIC_SCALE_GENERALNODES is %q, must be a number within 1000 … 4000000", text)
	}
	return n
}

// newWorld starts a manager with nothing in it.
func newWorld(t *testing.T) *world {
	t.Helper()
	p := control.ForTest(t, control.Options{Managers: 1})
	n := fleetSize(t)
	w := &world{t: t, fleet: newFleet(t, n), samples: samplesFor(n), plane: p, http: &http.Client{Transport: p.Transport()}, table: &table{}}
	w.admin = w.client(p.Token())
	return w
}

// client speaks to the manager on a connection of its own.
func (w *world) client(token string) *client.Client {
	w.t.Helper()
	c, err := client.New(client.Options{Server: w.plane.ServerURL(0), Token: client.StaticToken(token), Transport: w.plane.Transport()})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// do makes a request as the administrator and returns the answer, which must
// have the status.
func (w *world) do(status int, method, path, contentType string, body []byte) (*http.Response, []byte) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, w.plane.ServerURL(0)+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+w.plane.Token())
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := w.http.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if response.StatusCode != status {
		w.t.Fatalf("%s %s: %s: %s", method, path, response.Status, content[:min(len(content), 1000)])
	}
	return response, content
}

// waitReady waits until the manager says that it is ready.
func (w *world) waitReady() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.plane.ServerURL(0)+"/readyz", nil)
		if err != nil {
			w.t.Fatal(err)
		}
		if response, err := w.http.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body) // so that the connection is used again
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		if ctx.Err() != nil || !w.plane.Managers[0].Running() {
			w.t.Fatalf("the manager does not get ready: %s", w.plane.Managers[0].LogTail(10))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// restart ends the manager in order, starts it and waits until it is ready. It
// returns how long it was away.
func (w *world) restart() (ended, ready time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	begin := time.Now()
	if err := w.plane.Managers[0].Terminate(ctx); err != nil {
		w.t.Fatal(err)
	}
	ended = time.Since(begin)
	w.http.CloseIdleConnections()
	begin = time.Now()
	if err := w.plane.Managers[0].Start(); err != nil {
		w.t.Fatal(err)
	}
	w.waitReady()
	return ended, time.Since(begin)
}

// memory is what the manager holds.
type memory struct {
	anonymous int64 // RAM of its own
	file      int64 // pages of the database file that happen to be in RAM
	live      int64 // what the garbage collector found to be in use
	stacks    int64
}

// memory collects garbage in the manager and looks at what is left.
func (w *world) memory() memory {
	w.t.Helper()
	w.debug("/debug/pprof/heap?gc=1")
	var m memory
	for line := range strings.Lines(w.debug("/metrics")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, _ := strconv.ParseFloat(value, 64) // comments are no numbers
		switch name {
		case "go_memstats_heap_alloc_bytes":
			m.live = int64(n)
		case "go_memstats_stack_inuse_bytes":
			m.stacks = int64(n)
		}
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", w.plane.Managers[0].PID()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // most lines are other things
		switch name {
		case "RssAnon":
			m.anonymous = kilobytes << 10
		case "RssFile":
			m.file = kilobytes << 10
		}
	}
	if m.live == 0 || m.anonymous == 0 {
		w.t.Fatal("the memory of the manager cannot be read")
	}
	return m
}

// debug asks the listener for the operator of the manager's host.
func (w *world) debug(path string) string {
	w.t.Helper()
	transport := &http.Transport{DialContext: w.plane.Lab().Host("m1").Dial}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://127.0.0.1:7490" + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s %v", path, response.Status, err)
	}
	return string(content)
}

// profiled writes a CPU profile of the manager while f runs to
// CYPHONIC_SCALE_PROFILES/NAME.pprof, if that names a folder.
func (w *world) profiled(name string, f func()) {
	w.t.Helper()
	directory := os.Getenv("CYPHONIC_SCALE_PROFILES")
	if directory == "" {
		f()
		return
	}
	begin := time.Now()
	var profile string
	var done sync.WaitGroup
	done.Go(func() { profile = w.debug("/debug/pprof/profile?seconds=8") })
	f()
	w.t.Logf("%s took %v of the profiled time", name, time.Since(begin))
	done.Wait()
	if err := os.WriteFile(filepath.Join(directory, name+".pprof"), []byte(profile), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// databaseBytes is the size of the manager's database file.
func (w *world) databaseBytes() int64 {
	w.t.Helper()
	info, err := os.Stat(filepath.Join(w.plane.Directory(), "data", "etcd", "member", "snap", "db"))
	if err != nil {
		w.t.Fatal(err)
	}
	return info.Size()
}
