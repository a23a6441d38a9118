// Package nstest runs a test inside network namespaces of its own. Go moves goroutines between threads
// and a namespace belongs to a thread, so the test binary is started again as a whole inside the
// namespace and runs only the one test there. Only tests import this package.
package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
)

// entered tells the second process that it is inside; its value is the prefix of the namespaces' names.
const entered = "CYPHONIC_TEST_NAMESPACE"

// Enter returns true inside the namespaces. In the outer process it creates them (the first is the
// process's own, the extra ones are for Exec), runs the test again inside, reports its result and
// returns false: the caller then returns.
func Enter(t *testing.T, extra ...string) bool {
	t.Helper()
	if os.Getenv(entered) != "" {
		return true
	}
	RequireRoot(t)
	prefix := fmt.Sprintf("cyt-%d-%s", os.Getpid(), short(t.Name()))
	for _, name := range append([]string{"main"}, extra...) {
		ns := prefix + "-" + name
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Fatalf("create namespace %s: %v: %s", ns, err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
				t.Errorf("remove namespace %s: %v: %s", ns, err, out)
			}
		})
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	cmd := exec.Command("ip", "netns", "exec", prefix+"-main", self, "-test.run", pattern, "-test.v", "-test.timeout", "120s")
	cmd.Env = append(os.Environ(), entered+"="+prefix)
	out, err := cmd.CombinedOutput()
	t.Logf("inside the namespace:\n%s", out)
	if err != nil {
		t.Errorf("the test failed inside the namespace: %v", err)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) && err == nil {
		t.Errorf("the test did not run inside the namespace")
	}
	return false
}

// RequireRoot fails the test loudly where it cannot run, so that nobody takes a skip for a pass.
func RequireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CYPHONIC_UNPRIVILEGED") == "1" {
		t.Skip("needs root for network namespaces; skipped because CYPHONIC_UNPRIVILEGED=1")
	}
	t.Fatal("needs root for network namespaces; run as root, or set CYPHONIC_UNPRIVILEGED=1 to skip")
}

// Name returns the full name of one of the extra namespaces.
func Name(extra string) string {
	return os.Getenv(entered) + "-" + extra
}

// Run runs a command in the test's own namespace and fails the test if it fails.
func Run(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// Command prepares a command inside one of the extra namespaces.
func Command(extra string, command ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", Name(extra)}, command...)...)
}

// Exec runs a command inside one of the extra namespaces and fails the test if it fails.
func Exec(t *testing.T, extra string, command ...string) string {
	t.Helper()
	out, err := Command(extra, command...).CombinedOutput()
	if err != nil {
		t.Fatalf("in %s: %s: %v: %s", extra, strings.Join(command, " "), err, out)
	}
	return string(out)
}

// Do calls f on a thread inside one of the extra namespaces. Sockets that f opens stay there.
func Do(t *testing.T, extra string, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		// The thread is not unlocked: it ends with the goroutine instead of going back changed.
		runtime.LockOSThread()
		handle, err := netns.GetFromName(Name(extra))
		if err == nil {
			defer handle.Close()
			err = netns.Set(handle)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("enter namespace %s: %v", Name(extra), err)
	}
}

// short keeps the name of the namespace within the file system's and the kernel's taste.
func short(name string) string {
	name = strings.ToLower(strings.TrimPrefix(name, "Test"))
	name = strings.NewReplacer("/", "-", "_", "-").Replace(name)
	if len(name) > 24 {
		name = name[:24]
	}
	return name
}
