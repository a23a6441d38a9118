package etcd

import (
	"context"
	"testing"
	"time"
)

// A candidate whose watch tells nothing looks again by itself.
func TestACandidateLooksAgainWithoutAnEvent(t *testing.T) {
	t.Parallel()
	e := startEmbedded(t, t.TempDir())
	defer e.Close()
	s := NewStore(e.Client())
	ctx, cancel := context.WithTimeout(t.Context(), 4*vacancyRetry)
	defer cancel()
	session, err := s.session(ctx, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Orphan()
	l := &leadership{store: s, session: session, key: "/x"}
	if err := l.awaitVacancy(ctx, 1<<40); err != nil { // nothing happens after that revision
		t.Error(err)
	}
}
