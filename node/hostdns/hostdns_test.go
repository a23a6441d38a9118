package hostdns

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var ours = netip.MustParseAddrPort("127.74.40.1:53")

func newFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func start(t *testing.T, path string) (*Integration, func()) {
	t.Helper()
	i, err := New(Options{
		Mode: ModeAuto, Resolver: ours, Interface: "cyphonic0", Domains: []string{"lab.example"},
		ResolvConf: path, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	return i, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// eventually waits for the periodic check; a wrong result fails after the time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * check); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

func TestTheOriginalComesBackExactly(t *testing.T) {
	for name, original := range map[string]string{
		"usual":                "# comment\nsearch corp.example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions ndots:2 edns0\n",
		"no newline at end":    "nameserver 192.0.2.53",
		"empty":                "",
		"only a newline":       "\n",
		"blank lines at end":   "nameserver 192.0.2.53\n\n\n",
		"link-local with zone": "nameserver fe80::1%eth0\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := newFile(t, original)
			before, _ := os.Stat(path)
			_, stop := start(t, path)
			eventually(t, "integration", func() bool { return slices.Equal(nameservers(read(t, path)), []netip.Addr{ours.Addr()}) })
			stop()
			if got := read(t, path); got != original {
				t.Errorf("restored %q, want %q", got, original)
			}
			if after, _ := os.Stat(path); !os.SameFile(before, after) {
				t.Error("the file was replaced; a bind mount would have broken")
			}
		})
	}
}

func TestEveryOriginalComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.SampledFrom([]string{"", "nameserver 192.0.2.1", "#was:", "\\", openTag, "options x", " ", "\r"})).Draw(t, "lines")
		original := strings.Join(lines, "\n")
		if strings.HasPrefix(original, marker) {
			return
		}
		if got := originalOf(render(original, ours.Addr())); got != original {
			t.Fatalf("%q came back as %q", original, got)
		}
	})
}

func TestSearchAndOptionsStayInEffect(t *testing.T) {
	text := render("search corp.example\nnameserver 192.0.2.53\noptions ndots:2\n", ours.Addr())
	for _, line := range []string{"\nsearch corp.example\n", "\noptions ndots:2\n", "\nnameserver 127.74.40.1\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is missing in %q", line, text)
		}
	}
}

func TestAKilledProcessIsRecoveredFrom(t *testing.T) {
	const original = "nameserver 192.0.2.53\n"
	path := newFile(t, render(original, ours.Addr()))
	if err := Recover(path, ours); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != original {
		t.Errorf("recovered %q", got)
	}
	if err := Recover(path, ours); err != nil || read(t, path) != original {
		t.Error("recovering twice changed something")
	}
	if err := Recover(filepath.Join(t.TempDir(), "none"), ours); err != nil {
		t.Error(err)
	}
}

func TestAnotherProgramsChangeBecomesTheOriginal(t *testing.T) {
	path := newFile(t, "nameserver 192.0.2.53\n")
	i, stop := start(t, path)
	eventually(t, "integration", func() bool { return strings.HasPrefix(read(t, path), marker) })
	const changed = "nameserver 198.51.100.53\n" // a DHCP client moves to another network
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "integration again", func() bool { return strings.HasPrefix(read(t, path), marker) })
	eventually(t, "new upstream", func() bool {
		return slices.Equal(i.Upstreams(), []netip.AddrPort{netip.MustParseAddrPort("198.51.100.53:53")})
	})
	stop()
	if got := read(t, path); got != changed {
		t.Errorf("restored %q, want %q", got, changed)
	}
}

func TestUpstreamsNeverContainTheResolverItself(t *testing.T) {
	path := newFile(t, "nameserver 127.74.40.1\nnameserver 192.0.2.53\nnameserver nonsense\nnameserver 2001:db8::53\n")
	i, stop := start(t, path)
	defer stop()
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:53")}
	if got := i.Upstreams(); !slices.Equal(got, want) {
		t.Errorf("upstreams = %v, want %v", got, want)
	}
}

func TestModes(t *testing.T) {
	path := newFile(t, "nameserver 192.0.2.53\n")
	for mode, ok := range map[string]bool{ModeAuto: true, ModeResolvConf: true, ModeResolved: true, ModeNone: true, "networkmanager": false} {
		if _, err := New(Options{Mode: mode, Resolver: ours, ResolvConf: path}); (err == nil) != ok {
			t.Errorf("%s: %v", mode, err)
		}
	}
	other := netip.MustParseAddrPort("127.0.0.1:5354")
	if _, err := New(Options{Mode: ModeResolvConf, Resolver: other, ResolvConf: path}); err == nil || !strings.Contains(err.Error(), "53") {
		t.Errorf("a port that resolv.conf cannot name: %v", err)
	}
	i, err := New(Options{Mode: ModeNone, Resolver: ours, ResolvConf: path, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := i.Run(ctx); err != nil || read(t, path) != "nameserver 192.0.2.53\n" {
		t.Errorf("mode none touched the file: %v", err)
	}
}
