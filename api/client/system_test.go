package client

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyphonic/cyphonic/api"
)

func TestRequestsAboutTheWholeInstallation(t *testing.T) {
	var got []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Content-Type")+" "+string(body)))
		if r.URL.Path == "/api/v1/audit" && r.URL.Query().Get("continue") == "" {
			io.WriteString(w, `{"metadata":{"continue":"n"}}`)
			return
		}
		io.WriteString(w, `{}`)
	})
	ctx := t.Context()
	_, err1 := c.Whoami(ctx)
	_, err2 := c.AccessReview(ctx, api.AccessReview{Verb: "get", Kind: "Node"})
	_, err3 := c.Reachability(ctx, api.GetReachabilityParams{From: "node/a", To: "node/b", Protocol: "tcp", Port: 554})
	_, err4 := c.Plan(ctx, api.PlanRequest{})
	pages := 0
	err5 := c.AuditPages(ctx, api.ListAuditRecordsParams{Kind: "Node", Since: time.Unix(0, 0).UTC()}, func(api.AuditRecordList) error { pages++; return nil })
	var backup bytes.Buffer
	err6 := c.Backup(ctx, &backup, []string{"age1a", "age1b"})
	_, err7 := c.Restore(ctx, strings.NewReader("backup"), true)
	err8 := c.PushAdapterMetrics(ctx, "g", api.PushAdapterMetricsParams{CyphonicMetricsBoot: "boot-1234", CyphonicMetricsSequence: 2}, []byte("metrics"))
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8); err != nil {
		t.Fatal(err)
	}
	if pages != 2 || backup.String() != "{}" {
		t.Errorf("%d pages, backup %q", pages, backup.String())
	}
	want := []string{
		"GET /api/v1/whoami",
		`POST /api/v1/accessreviews application/json {"kind":"Node","verb":"get"}`,
		"GET /api/v1/reachability?from=node%2Fa&port=554&protocol=tcp&to=node%2Fb",
		`POST /api/v1/plans application/json {"items":null}`,
		"GET /api/v1/audit?kind=Node&since=1970-01-01T00%3A00%3A00Z",
		"GET /api/v1/audit?continue=n&kind=Node&since=1970-01-01T00%3A00%3A00Z",
		"GET /api/v1/backup?recipient=age1a&recipient=age1b",
		"POST /api/v1/restore?replace=true application/octet-stream backup",
		"POST /api/v1/adapters/g/metrics application/vnd.google.protobuf metrics",
	}
	if difference := cmp.Diff(want, got); difference != "" {
		t.Error(difference)
	}
}

func TestABackupThatBreaksIsAnError(t *testing.T) {
	attempts := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		attempts++
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
	})
	if err := c.Backup(t.Context(), io.Discard, []string{"age1a"}); err == nil || attempts != 1 {
		t.Errorf("got %v after %d attempts", err, attempts)
	}
}
