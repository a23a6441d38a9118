package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/applyset"
)

func quiet() *command {
	return &command{Environment: Environment{Stdout: io.Discard, Stderr: io.Discard, Now: time.Now, Getenv: func(string) string { return "" }}}
}

func manyProposed(n int, kind string) (all []proposed) {
	k, _ := api.KindNamed(kind)
	for i := range n {
		all = append(all, proposed{target: target{k, fmt.Sprint("n", i)}})
	}
	return all
}

func TestTogetherKeepsTheOrderAndTheBound(t *testing.T) {
	work := &together{parallel: 4, total: 50, progress: quiet().newProgress("")}
	var (
		mu      sync.Mutex
		running int
		most    int
	)
	work.run(t.Context(), manyProposed(50, "Node"), func(_ context.Context, one proposed) (shown, error) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		defer func() {
			mu.Lock()
			running--
			mu.Unlock()
		}()
		if strings.HasSuffix(one.target.name, "7") {
			return shown{}, errors.New(one.target.name)
		}
		return shownResource(emptyObject(one.target), ""), nil
	})
	var names []string
	for _, result := range work.results {
		names = append(names, result.object.Meta().Name)
	}
	if len(names) != 45 || names[0] != "n0" || names[44] != "n49" || most > 4 {
		t.Errorf("%d at a time, %v", most, names)
	}
	if text := fmt.Sprint(work.faults); text != "[n7 n17 n27 n37 n47]" {
		t.Error(text)
	}
}

func TestTogetherStopsAtWhatBefallsEveryRequest(t *testing.T) {
	work := &together{parallel: 1, total: 50, progress: quiet().newProgress("")}
	sent := 0
	do := func(context.Context, proposed) (shown, error) {
		sent++
		return shown{}, &client.UnreachableError{Err: errors.New("gone")}
	}
	work.run(t.Context(), manyProposed(50, "Node"), do)
	work.run(t.Context(), manyProposed(50, "AccessPolicy"), do)
	if sent != 1 || len(work.faults) != 1 {
		t.Errorf("%d requests, %v", sent, work.faults)
	}
}

func TestRanksPutWhatOthersReferToFirst(t *testing.T) {
	all := append(manyProposed(2, "AccessPolicy"), append(manyProposed(1, "Network"), manyProposed(2, "Node")...)...)
	var got []string
	for _, group := range ranks(all) {
		got = append(got, fmt.Sprint(group[0].target.kind.Name, len(group)))
	}
	if diff := cmp.Diff([]string{"Network1", "Node2", "AccessPolicy2"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnifiedLeavesOutWhatTheManagerKeeps(t *testing.T) {
	kind, _ := api.KindNamed("Node")
	was, is := emptyObject(target{kind, "a"}).(*api.Node), emptyObject(target{kind, "a"}).(*api.Node)
	was.Spec.Network, is.Spec.Network = "factory", "factory"
	was.Metadata.ResourceVersion, was.Metadata.Generation, was.Status.Phase = "7", 3, "Up"
	if text, err := unified(target{kind, "a"}, was, is); err != nil || text != "" {
		t.Errorf("%q, %v", text, err)
	}
	is.Spec.Disabled = true
	text, err := unified(target{kind, "a"}, was, is)
	want := "--- live/node/a\n+++ manifest/node/a\n@@ -3,4 +3,5 @@\n metadata:\n   name: a\n spec:\n+  disabled: true\n   network: factory\n"
	if err != nil || text != want {
		t.Errorf("got %q, %v, want %q", text, err, want)
	}
}

func TestTimeOf(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "0": {}, "1h": now.Add(-time.Hour), "2026-01-01T00:00:00+01:00": time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC),
	} {
		if got, err := timeOf("--since", text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"-1h", "yesterday", "2026-01-01"} {
		if _, err := timeOf("--since", text, now); exitCode(err) != exitUsage {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRuleOf(t *testing.T) {
	got, err := ruleOf("GET,list:gn,Audit,*@factory,plant")
	want := api.RoleRule{Verbs: []string{"get", "list"}, Kinds: []string{"GeneralNode", "Audit", "*"}, Networks: []string{"factory", "plant"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, text := range []string{"", "get", ":Node", "get:", "get:Node@"} {
		if _, err := ruleOf(text); err == nil {
			t.Errorf("%q is a rule", text)
		}
	}
}

// What guardHelp says to give is enough.
func TestGuardHelpIsEnough(t *testing.T) {
	for live := 1; live < 60; live++ {
		for deletions := 1; deletions <= live; deletions++ {
			err := &applyset.GuardError{Set: "s", Deletions: deletions, Live: live, Guard: applyset.DefaultGuard()}
			needed := applyset.Guard{MaxDeletions: deletions, MaxShare: float64(neededShare(err)) / 100}
			if !needed.Allows(deletions, live) {
				t.Fatalf("%d of %d: %d %% is too little", deletions, live, neededShare(err))
			}
		}
	}
}

func TestWriteOnceLeavesNothingHalfDone(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "f")
	failure := errors.New("failure")
	err := writeOnce(file, func(out io.Writer) error {
		_, _ = io.WriteString(out, "half")
		return failure
	})
	if entries, _ := os.ReadDir(folder); !errors.Is(err, failure) || len(entries) != 0 {
		t.Errorf("%v, %v", err, entries)
	}
	// Somebody else is faster: theirs stays.
	err = writeOnce(file, func(io.Writer) error { return os.WriteFile(file, []byte("theirs"), 0o600) })
	text, _ := os.ReadFile(file)
	if entries, _ := os.ReadDir(folder); exitCode(err) != exitUsage || string(text) != "theirs" || len(entries) != 1 {
		t.Errorf("%v, %q, %v", err, text, entries)
	}
}
