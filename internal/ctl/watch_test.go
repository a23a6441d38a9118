package ctl_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cyphonic/cyphonic/internal/ctl"
)

// The output comes through a pipe, so each line is waited for and none is timed.
func TestWatchAndGetWatchPrintChangesAsTheyHappen(t *testing.T) {
	config, err := startManager(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	apply(t, config, `{apiVersion: cyphonic/v1, kind: Network, metadata: {name: n}, spec: {ipv4Prefix: 10.0.0.0/24, ipv6Prefix: "fd00::/64", domain: a.b}}`)
	apply(t, config, `{apiVersion: cyphonic/v1, kind: Node, metadata: {name: old}, spec: {network: n}}`)

	rows := map[string]struct {
		args                              []string
		present, added, modified, deleted string
	}{
		"watch":        {[]string{"watch", "nodes"}, `^ADDED    node/old$`, `^ADDED    node/new$`, `^MODIFIED node/new$`, `^DELETED  node/new$`},
		"watch json":   {[]string{"watch", "node", "new", "-o", "json"}, ``, `^{"object":{.*"type":"ADDED"`, `"disabled":true.*"type":"MODIFIED"`, `"type":"DELETED"`},
		"get -w":       {[]string{"get", "nodes", "-w"}, `^NAME `, `^new .* \d+s$`, `^new .*Disabled`, `^node/new deleted$`},
		"get one name": {[]string{"get", "node/new", "-w", "-o", "name"}, ``, `^node/new$`, `^node/new$`, ``},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			lines, stop := start(t, config, row.args...)
			expect(t, lines, row.present)
			if name == "get -w" {
				expect(t, lines, `^old `)
			}
			apply(t, config, `{apiVersion: cyphonic/v1, kind: Node, metadata: {name: new}, spec: {network: n}}`)
			expect(t, lines, row.added)
			apply(t, config, `{apiVersion: cyphonic/v1, kind: Node, metadata: {name: new}, spec: {network: n, disabled: true}}`)
			expect(t, lines, row.modified)
			run(t, config, "", "delete", "node", "new")
			expect(t, lines, row.deleted)
			if code := stop(); code != 0 {
				t.Errorf("exit code %d after the interruption, want 0", code)
			}
		})
	}
}

func TestGetWatchAlignsWhatThereIs(t *testing.T) {
	config, err := startManager(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	apply(t, config, `{apiVersion: cyphonic/v1, kind: Network, metadata: {name: n}, spec: {ipv4Prefix: 10.0.0.0/24, ipv6Prefix: "fd00::/64", domain: a.b}}`)
	apply(t, config, `{apiVersion: cyphonic/v1, kind: Network, metadata: {name: with-a-longer-name}, spec: {ipv4Prefix: 10.1.0.0/24, ipv6Prefix: "fd01::/64", domain: longer.b}}`)
	lines, stop := start(t, config, "get", "networks", "-w")
	expect(t, lines, `^NAME                 DOMAIN     IPV4 `)
	expect(t, lines, `^n                    a\.b        10\.0`)
	expect(t, lines, `^with-a-longer-name   longer\.b   10\.1`)
	stop()
}

// start runs a command line until stop, which returns its exit code.
func start(t *testing.T, config string, args ...string) (*bufio.Scanner, func() int) {
	t.Helper()
	reader, writer := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	env := environment(writer)
	env.Stderr = os.Stderr
	go func() {
		code <- ctl.Run(ctx, append([]string{"--config", config}, args...), env)
		writer.Close()
	}()
	return bufio.NewScanner(reader), func() int {
		cancel()
		if _, err := io.Copy(io.Discard, reader); err != nil {
			t.Error(err)
		}
		return <-code
	}
}

func expect(t *testing.T, lines *bufio.Scanner, pattern string) {
	t.Helper()
	if pattern == "" {
		return
	}
	if !lines.Scan() {
		t.Fatalf("the output ended before a line like %s", pattern)
	}
	if !regexp.MustCompile(pattern).MatchString(lines.Text()) {
		t.Fatalf("got line %q, want %s", lines.Text(), pattern)
	}
}

func apply(t *testing.T, config, manifest string) {
	t.Helper()
	run(t, config, manifest, "apply", "-f", "-")
}

func run(t *testing.T, config, stdin string, args ...string) {
	t.Helper()
	var out strings.Builder
	env := environment(&out)
	env.Stdin, env.Stderr = strings.NewReader(stdin), &out
	if code := ctl.Run(t.Context(), append([]string{"--config", config}, args...), env); code != 0 {
		t.Fatalf("%v: exit code %d\n%s", args, code, out.String())
	}
}
