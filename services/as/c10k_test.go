package as

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

const (
	// crowdVariable chooses the number of connections; the full size is 10000.
	crowdVariable = "CYPHONIC_C10K"
	// crowdChildVariable makes this test binary the devices: address, number of connections, folder.
	crowdChildVariable = "CYPHONIC_AS_TEST_CROWD"

	usualCrowd   = 500
	crowdDevices = 100
	crowdTime    = 30 * time.Second
)

// still is a directory that does not change.
type still struct {
	*directory
	snapshot *replica.Snapshot
}

func (s still) Snapshot() *replica.Snapshot { return s.snapshot }

func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

// enrolCrowd makes the devices: their keys are in the folder.
func enrolCrowd(t *testing.T, w *world, folder string) {
	t.Helper()
	contents := w.directory.contents
	contents.Networks = []*replica.Network{{Name: "home", Domain: "home.example", IPv4Prefix: netip.MustParsePrefix("10.64.0.0/16")}}
	addr := netip.MustParseAddr("10.64.1.0")
	for i := range crowdDevices {
		name := nodeName(i)
		key, err := identity.LoadOrCreateDeviceKey(filepath.Join(folder, name), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		addr = addr.Next()
		subject := &replica.Subject{
			Ref: replica.Ref{Plural: keyspace.Nodes, Name: name}, UID: "uid-" + name, Network: "home", FQDN: name + ".home.example", IPv4: addr,
		}
		contents.Subjects = append(contents.Subjects, subject)
		contents.Enrolled[subject.Ref] = replica.Enrolled{UID: subject.UID, Public: key.Public()}
	}
	snapshot, errs := replica.NewSnapshot(contents)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	w.core.directory = still{w.directory, snapshot}
}

// TestACrowdLogsInAtOnce connects many times from many source addresses, holds all connections open until the last one
// is there, and then logs in on all of them. The devices are another process: each end may open as many files as the
// system lets a process.
func TestACrowdLogsInAtOnce(t *testing.T) {
	n := usualCrowd
	if text := os.Getenv(crowdVariable); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > maxConnections {
			t.Fatalf("%s is %q, must be 1 … %d", crowdVariable, text, maxConnections)
		}
	}
	w := newWorld(t)
	folder := t.TempDir()
	enrolCrowd(t, w, folder)
	address, server := startServer(t, w)
	trust, err := identity.EncodeTrust(w.trust)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "trust.json"), trust, 0o600); err != nil {
		t.Fatal(err)
	}
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	devices := startCrowd(t, address, n, folder)
	start := time.Now()
	devices.expect("connected")
	connected := time.Since(start)
	server.mu.Lock()
	open := len(server.open)
	server.mu.Unlock()
	if open != n {
		t.Fatalf("%d connections are open at once, want %d", open, n)
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	resumed := time.Now()
	devices.say("go")
	devices.expect("served")
	took := connected + time.Since(resumed)
	t.Logf("%d connections at once after %v, all logged in after %v; %d KiB of memory each", n, connected.Round(time.Millisecond),
		took.Round(time.Millisecond), (during.HeapInuse+during.StackInuse-before.HeapInuse-before.StackInuse)/uint64(n)/1024)
	if took > crowdTime {
		t.Errorf("took %v, must take at most %v", took, crowdTime)
	}
	if server.Residual() != 0 {
		t.Errorf("%d logins under way", server.Residual())
	}
}

// crowdProcess is the devices.
type crowdProcess struct {
	t     *testing.T
	in    io.Writer
	lines *bufio.Scanner
}

func startCrowd(t *testing.T, address string, n int, folder string) crowdProcess {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*crowdTime)
	command := exec.CommandContext(ctx, os.Args[0])
	command.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", crowdChildVariable, address, n, folder))
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Wait()
		cancel()
	})
	return crowdProcess{t, in, bufio.NewScanner(out)}
}

func (c crowdProcess) expect(text string) {
	c.t.Helper()
	if !c.lines.Scan() || c.lines.Text() != text {
		c.t.Fatalf("waiting for %q: %q %v", text, c.lines.Text(), c.lines.Err())
	}
}

func (c crowdProcess) say(text string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, text); err != nil {
		c.t.Fatal(err)
	}
}

// runCrowd is the other process. It says how far it is, and every fault.
func runCrowd(arguments string) (failed bool) {
	var address, folder string
	var n int
	if _, err := fmt.Sscan(arguments, &address, &n, &folder); err != nil {
		fmt.Println(err)
		return true
	}
	trust, err := identity.LoadTrust(filepath.Join(folder, "trust.json"))
	if err != nil {
		fmt.Println(err)
		return true
	}
	clients := make([]*login.Client, n)
	if each(n, func(i int) (err error) { clients[i], err = dialFrom(address, trust, i); return err }) {
		return true
	}
	fmt.Println("connected")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	if each(n, func(i int) error {
		name := nodeName(i % crowdDevices)
		key, err := identity.LoadDeviceKey(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		grant, err := clients[i].Login(context.Background(), wire.Subject{Kind: wire.SubjectNode, Name: name}, key, wire.CredentialDeviceKey{})
		if err == nil && !strings.HasPrefix(grant.FQDN, name+".") {
			err = fmt.Errorf("%s got the grant of %s", name, grant.FQDN)
		}
		return err
	}) {
		return true
	}
	fmt.Println("served")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the test has looked
	return false
}

// dialFrom connects once, from one of many addresses of loopback.
func dialFrom(address string, trust identity.Trust, i int) (*login.Client, error) {
	source := &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i/250), byte(1+i%250))}
	return login.Dial(context.Background(), login.Options{
		Address: address, Trust: trust, Timeout: crowdTime, Attempts: 1,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: source}).DialContext(ctx, network, address)
		},
	})
}

// each does f for 0 … n-1 at the same time and prints the first faults.
func each(n int, f func(i int) error) (failed bool) {
	var group sync.WaitGroup
	var mu sync.Mutex
	faults := 0
	for i := range n {
		group.Go(func() {
			err := f(i)
			if err == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if faults++; faults <= 3 {
				fmt.Printf("%d: %v\n", i, err)
			}
		})
	}
	group.Wait()
	if faults > 0 {
		fmt.Printf("%d of %d failed\n", faults, n)
	}
	return faults > 0
}
