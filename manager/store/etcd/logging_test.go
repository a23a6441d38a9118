package etcd

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestWarningsOfEtcdReachTheLog(t *testing.T) {
	var b bytes.Buffer
	log := zap.New(slogCore{log: slog.New(slog.NewTextHandler(&b, nil))}).With(zap.String("member", "m1"))
	log.Info("chatter")
	log.Warn("simple token is not cryptographically signed")
	log.Error("disk is slow", zap.Int("took", 7))
	if got := b.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "member=m1") || !strings.Contains(got, "took=7") {
		t.Fatalf("the log has %q", got)
	}
}

func TestAFreshServerReportsNoErrors(t *testing.T) {
	var b bytes.Buffer
	e, err := StartEmbedded(t.Context(), t.TempDir(), slog.New(slog.NewTextHandler(&b, nil)))
	if err != nil {
		t.Fatal(err)
	}
	e.Close() // nothing writes to b any more
	if got := b.String(); strings.Contains(got, "level=ERROR") || strings.Contains(got, "schema version") || strings.Contains(got, "single port") {
		t.Fatalf("the log has:\n%s", got)
	}
}
