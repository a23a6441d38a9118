package ctl_test

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"github.com/cyphonic/cyphonic/internal/ctl"
)

// At a terminal wait says what it waits for, which tells the test that it has begun.
func TestWaitForTheDeletionOfWhatIsSelected(t *testing.T) {
	config, err := startManager(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	apply(t, config, `{apiVersion: cyphonic/v1, kind: Network, metadata: {name: n}, spec: {ipv4Prefix: 10.0.0.0/24, ipv6Prefix: "fd00::/64", domain: a.b}}`)
	apply(t, config, `{apiVersion: cyphonic/v1, kind: Node, metadata: {name: a, labels: {old: "1"}}, spec: {network: n}}`)
	apply(t, config, `{apiVersion: cyphonic/v1, kind: Node, metadata: {name: b}, spec: {network: n}}`)
	var out strings.Builder
	env := environment(&out)
	reader, writer := io.Pipe()
	env.Stderr = writer
	env.Terminal = func(any) bool { return true }
	code := make(chan int, 1)
	go func() {
		code <- ctl.Run(t.Context(), []string{"--config", config, "--color", "never", "wait", "nodes", "-l", "old", "--for=delete", "--timeout", "60s"}, env)
		writer.Close()
	}()
	said := bufio.NewReader(reader)
	begun := make([]byte, len("\rWaiting for node/a"))
	if _, err := io.ReadFull(said, begun); err != nil || string(begun) != "\rWaiting for node/a" {
		t.Fatalf("got %q, %v", begun, err)
	}
	go io.Copy(io.Discard, said)
	run(t, config, "", "label", "node", "a", "old-") // it is no longer selected, but still there
	run(t, config, "", "delete", "node", "a")
	if got := <-code; got != 0 || out.String() != "node/a deleted\n" {
		t.Errorf("exit code %d, %q", got, out.String())
	}
}
