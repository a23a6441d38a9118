package events

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/store"
)

// running is a cache that follows a store until the test ends.
func running(t *testing.T, s store.Store) *cache.Cache {
	t.Helper()
	c, err := cache.New(cache.Options{Store: s, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: prometheus.NewRegistry(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	select {
	case <-c.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("the cache is not filled")
	}
	if err := c.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func put(t *testing.T, s store.Store, plural, name, rest string) {
	t.Helper()
	value := fmt.Sprintf(`{"apiVersion":"cyphonic/v1","metadata":{"name":%q,"uid":"u-%s"},%s}`, name, name, rest)
	if _, err := s.Commit(t.Context(), store.Transaction{Writes: []store.Write{store.Put(keyspace.Resource(plural, name), []byte(value))}}); err != nil {
		t.Fatal(err)
	}
}

func enrolment(phase string) string {
	return fmt.Sprintf(`"kind":"EnrollmentToken","spec":{"subjectKind":"Node","subjectName":"n"},"status":{"phase":%q,"expirationTimestamp":"2030-01-01T00:00:30Z"}`, phase)
}

func TestTheUseOfATokenIsNoticedOnce(t *testing.T) {
	s, clk := open(t), &clock{time.Unix(100, 0)}
	put(t, s, keyspace.Nodes, "n", `"kind":"Node","spec":{"network":"f"}`)
	put(t, s, keyspace.EnrollmentTokens, "t", enrolment("Pending"))
	c, r := running(t, s), newRecorder(t, s, clk)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Tokens{Cache: c, Recorder: r, Now: time.Now}.Run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for {
		// The subscription may begin after any of these changes, so they are
		// made until one of them was seen.
		put(t, s, keyspace.EnrollmentTokens, "t", enrolment("Pending"))
		put(t, s, keyspace.EnrollmentTokens, "t", enrolment("Used"))
		put(t, s, keyspace.EnrollmentTokens, "t", enrolment("Used"))
		if err := c.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.flush(t.Context())
		if len(list(t, s)) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing was noticed")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.flush(t.Context())
	got := strings.Join(list(t, s), "\n")
	if !strings.Contains(got, "t TokenUsed Node n enrolled") || !strings.Contains(got, "n Enrolled enrolled its key with the enrolment token t") {
		t.Fatal(got)
	}
}

func TestExpiredTokensAreNoticedOnce(t *testing.T) {
	s := open(t)
	put(t, s, keyspace.EnrollmentTokens, "pending", enrolment("Pending"))
	put(t, s, keyspace.EnrollmentTokens, "used", enrolment("Used"))
	put(t, s, keyspace.APITokens, "ci", `"kind":"APIToken","spec":{},"status":{"phase":"Active","expirationTimestamp":"2030-01-01T00:00:30Z"}`)
	at := func(second int) time.Time { return time.Date(2030, 1, 1, 0, 0, second, 0, time.UTC) }
	r := newRecorder(t, s, &clock{at(0)})
	tokens := Tokens{Cache: running(t, s), Recorder: r, Now: time.Now}
	for second := range 60 {
		tokens.noticeExpiry(at(second), at(second+1))
	}
	r.flush(t.Context())
	got := list(t, s)
	if len(got) != 2 || !strings.HasPrefix(got[0], "ci TokenExpired") || !strings.HasPrefix(got[1], "pending TokenExpired") || !strings.Contains(got[1], " 1x ") {
		t.Fatal(strings.Join(got, "\n"))
	}
}
