package repository

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/manager/gitsync/gittest"
)

func TestLargeRepositoriesAreRefused(t *testing.T) {
	s := gittest.Start(t)
	for i := range 20 {
		s.Write(fmt.Sprintf("f%d/a.yaml", i), fmt.Sprintf("%d%s", i, strings.Repeat("zeros compress well ", 5_000)))
	}
	s.Write("a/b/c/d/e.yaml", "deep")
	s.Commit()
	source := sourceOf(t, s, nil)
	if _, err := read(t, source, standardBounds()); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name   string
		change func(*bounds)
	}{
		{"received", func(b *bounds) { b.received = 1_000 }},
		{"inflated", func(b *bounds) { b.inflated = 500_000 }}, // the pack itself has a few kilobytes
		{"objects", func(b *bounds) { b.objects = 10 }},
		{"visited", func(b *bounds) { b.visited = 10 }},
		{"depth", func(b *bounds) { b.depth = 3 }},
		{"files", func(b *bounds) { b.maxFile = 10 }},
		{"bytes of files", func(b *bounds) { b.fileBytes = 500_000 }},
	}
	for _, k := range cases {
		limits := standardBounds()
		k.change(&limits)
		if _, err := read(t, source, limits); ReasonOf(err) != ReasonTooLarge || err == nil {
			t.Errorf("%s: %v (%s)", k.name, err, ReasonOf(err))
		}
	}
}

// A folder that names another ten times, which names another ten times …: a
// few objects, ten thousand million files.
func TestABombOfFoldersIsRefused(t *testing.T) {
	s := gittest.Start(t)
	blob := strings.TrimSpace(s.GitInput("a: b\n", "hash-object", "-w", "--stdin"))
	kind, mode, object := "blob", "100644", blob
	for level := range 10 {
		var lines strings.Builder
		for i := range 10 {
			fmt.Fprintf(&lines, "%s %s %s\tl%d-%d.yaml\n", mode, kind, object, level, i)
		}
		object = strings.TrimSpace(s.GitInput(lines.String(), "mktree"))
		kind, mode = "tree", "040000"
	}
	s.CommitTree(object)
	start := time.Now()
	if _, err := read(t, sourceOf(t, s, nil), standardBounds()); ReasonOf(err) != ReasonTooLarge || err == nil {
		t.Errorf("%v", err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it took %s", d)
	}
}

func TestHostileNamesAreRefused(t *testing.T) {
	for _, name := range []string{"..", ".", ".git", ".GIT", `a\b.yaml`, "a\x01.yaml", "a/b.yaml", "\xff.yaml"} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			s := gittest.Start(t)
			blob := strings.TrimSpace(s.GitInput("a: b\n", "hash-object", "-w", "--stdin"))
			raw := "100644 " + name + "\x00" + decodeHex(t, blob)
			tree := strings.TrimSpace(s.GitInput(raw, "hash-object", "-t", "tree", "-w", "--literally", "--stdin"))
			s.CommitTree(tree)
			if _, err := read(t, sourceOf(t, s, nil), standardBounds()); err == nil || ReasonOf(err) != ReasonHostile {
				t.Errorf("%v (%s)", err, ReasonOf(err))
			}
		})
	}
}

func decodeHex(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	for i := 0; i+1 < len(text); i += 2 {
		var b byte
		if _, err := fmt.Sscanf(text[i:i+2], "%02x", &b); err != nil {
			t.Fatal(err)
		}
		out.WriteByte(b)
	}
	return out.String()
}

func TestTimeIsBounded(t *testing.T) {
	s := gittest.Start(t)
	s.Write("a.yaml", "a")
	s.Commit()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, sourceOf(t, s, nil)); err == nil {
		t.Error("a session outlived its context")
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01"))
	f.Add([]byte("PACK\x00\x00\x00\x02\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, pack []byte) {
		limits := standardBounds()
		limits.inflated = 1 << 20
		if objects, err := unpack(pack, limits); err == nil && objects == nil {
			t.Error("neither objects nor an error")
		}
	})
}
