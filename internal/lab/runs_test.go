package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func assertGone(t *testing.T, run Run) {
	t.Helper()
	for _, pattern := range []string{
		filepath.Join(namespaceDirectory, run.Name+"-*"), filepath.Join(resolverDirectory, run.Name+"-*"),
		run.path(), run.Directory,
	} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	l := newLab(t, Options{}, twoSites(NATPortPreserving, NATPortPreserving))
	p, err := l.Host("left").Start(Command{Args: []string{"sleep", "100"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if p.Running() {
		t.Error("a process outlived Close")
	}
	assertGone(t, l.Record())
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestAPersistentLabStaysUntilItIsRemoved(t *testing.T) {
	l := newLab(t, Options{Persistent: true, NoEvidence: true}, twoSites(NATPortPreserving, NATPortPreserving))
	t.Cleanup(func() { _ = l.Abandon() })
	p, err := l.Host("left").Start(Command{Args: []string{"sleep", "100"}, KeepRunning: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.SetNotes(map[string]string{"key": "value"}), l.Close(), RemoveStale()); err != nil {
		t.Fatal(err)
	}
	run, err := FindRun(l.Name())
	if err != nil || run.Notes["key"] != "value" || !run.Persistent {
		t.Fatalf("record %+v, %v", run, err)
	}
	if out, err := exec.Command("ip", "netns", "exec", run.Namespace("left"), "cat", "/proc/sys/net/ipv4/ip_forward").CombinedOutput(); err != nil {
		t.Errorf("the host is gone after Close: %v: %s", err, out)
	}
	if !p.Running() {
		t.Error("the process ended with Close")
	}
	server := listenUDP(t, l.Host("server"), "203.0.113.10:7000")
	left := listenUDP(t, l.Host("left"), "192.168.10.2:5000")
	for range 2 { // replaces what is blocked
		if err := run.Block(t.Context(), "router", BlockRule{Protocol: "udp"}); err != nil {
			t.Fatal(err)
		}
	}
	if source := observe(t, left, server, "203.0.113.10:7000", little); source.IsValid() {
		t.Error("a blocked datagram arrived")
	}
	for range 2 { // idempotent
		if err := run.Unblock(t.Context(), "router"); err != nil {
			t.Fatal(err)
		}
	}
	observe(t, left, server, "203.0.113.10:7000", enough)
	for range 2 { // idempotent
		if err := run.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	<-p.Done()
	assertGone(t, run)
	if _, err := FindRun(l.Name()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the record after removal: %v", err)
	}
}

func TestALabWhoseOwnerIsKilledDisappears(t *testing.T) {
	requireRoot(t)
	name := fmt.Sprintf("cyt-owner-%d", os.Getpid())
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), "LAB_TEST_OWNER="+name)
	stdout, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 256)
	n, err := stdout.Read(line)
	if err != nil || string(line[:n]) != "ready\n" {
		_ = owner.Process.Kill()
		t.Fatalf("owner said %q, %v", line[:n], err)
	}
	run, err := FindRun(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if _, err := os.Stat(run.path()); errors.Is(err, os.ErrNotExist) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	assertGone(t, run)
}

func TestRemoveStaleRemovesOnlyTheDead(t *testing.T) {
	living := newLab(t, Options{NoEvidence: true}, twoSites(NATPortPreserving, NATPortPreserving))
	dead := Run{Name: living.Name() + "-dead", Hosts: []string{"a"}, OwnerPID: os.Getpid(), OwnerStart: 1}
	if err := dead.save(os.O_CREATE | os.O_EXCL); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ip", "netns", "add", dead.Namespace("a")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := RemoveStale(); err != nil {
		t.Fatal(err)
	}
	assertGone(t, dead)
	if _, err := living.Host("left").Run(t.Context(), "true"); err != nil {
		t.Errorf("the living lab was damaged: %v", err)
	}
	_, err := New(t.Context(), Options{Name: living.Name()}, twoSites(NATNone, NATNone))
	if err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second lab of the same name: %v", err)
	}
}
