package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/auditchain"
	"github.com/cyphonic/cyphonic/manager/store"
)

func TestRefusedRequestsAreRecordedInBounds(t *testing.T) {
	w := newWorld(t, Limits{})
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	for range noteBurst + 50 {
		w.Note("192.0.2.1", Record{Outcome: auditchain.Denied, Subject: "none"})
	}
	w.Note("192.0.2.2", Record{Outcome: auditchain.Denied, Subject: "none", RemoteAddress: "192.0.2.2"})
	if got := testutil.ToFloat64(w.metrics.dropped.WithLabelValues("rate")); got != 50 {
		t.Errorf("%v were dropped", got)
	}
	go func() { done <- w.Run(ctx) }()
	cancel() // what waits is written all the same
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.append(0)
	records := w.all()
	if len(records) != noteBurst+2 {
		t.Errorf("%d records", len(records))
	}
	if text := fmt.Sprint(records); !strings.Contains(text, "50 records of refused requests were dropped") || !strings.Contains(text, "192.0.2.2") {
		t.Error("the log does not say that something is missing, or another address is")
	}
	w.now = w.now.Add(3 * noteInterval)
	for range 5 {
		w.Note("192.0.2.1", Record{Outcome: auditchain.Denied})
	}
	if got := len(w.queue); got != 3 {
		t.Errorf("%d more after a while", got)
	}
	for i := range 2 * maxSources {
		w.now = w.now.Add(allInterval)
		w.Note(fmt.Sprint(i), Record{Outcome: auditchain.Denied})
	}
	if n := len(w.flood.sources); n > maxSources {
		t.Errorf("%d sources are remembered", n)
	}
	if len(w.queue) != maxQueue || testutil.ToFloat64(w.metrics.dropped.WithLabelValues("queue")) == 0 {
		t.Errorf("%d wait", len(w.queue))
	}
}

func TestNothingIsDoneUnrecorded(t *testing.T) {
	w := newWorld(t, Limits{})
	w.Log.store = away{w.Log.store}
	if err := w.Write(w.ctx, Record{Outcome: auditchain.Allowed}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	w.Note("x", Record{Outcome: auditchain.Denied})
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	if err := w.Run(ctx); err != nil {
		t.Error(err)
	}
	if got := testutil.ToFloat64(w.metrics.dropped.WithLabelValues("store")); got != 1 {
		t.Errorf("%v dropped because of the store", got)
	}
}

type away struct{ store.Store }

func (away) Commit(context.Context, store.Transaction) (int64, error) {
	return 0, store.ErrUnavailable
}

func TestRecordsAreBounded(t *testing.T) {
	w := newWorld(t, Limits{})
	long := strings.Repeat("ß", 5000)
	big := json.RawMessage(`"` + strings.Repeat("x", maxObjectBytes) + `"`)
	write := w.Pending(Record{
		RequestId: long, Subject: long, RemoteAddress: long, Verb: long, Kind: long, Name: long, Network: long, Reason: long,
		Outcome: auditchain.Denied, Before: big, After: big, Sequence: 7, Hash: "x", PreviousHash: "y", Revision: 9,
	})
	if len(write.Value) > 16<<10 {
		t.Errorf("%d bytes", len(write.Value))
	}
	var r Record
	if err := json.Unmarshal(write.Value, &r); err != nil || !r.Truncated || r.Before != nil || r.Sequence != 0 || r.Hash != "" || r.Revision != 0 {
		t.Errorf("%+v %v", r, err)
	}
	if write := w.Pending(Record{Outcome: auditchain.Allowed, After: json.RawMessage("{")}); len(write.Value) == 0 {
		t.Error("nothing is written of a change whose object is no JSON")
	}
}

func object(t *testing.T, text string) api.Object {
	t.Helper()
	o := &api.GitSource{}
	if err := json.Unmarshal([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestObjectsHoldNoSecrets(t *testing.T) {
	node := func(hash string) *api.Node {
		return &api.Node{Spec: api.NodeSpec{Network: "hall", Authentication: api.NodeAuthentication{PasswordHash: hash}}, Metadata: api.ObjectMeta{
			Name: "n", Annotations: map[string]string{"note": "see https://bob:hunter2@example.org/x", "api-token": "sesame"},
			ManagedFields: []api.ManagedFields{{Manager: "m"}},
		}}
	}
	before, after, cut := Objects(node("$argon2id$old"), node("$argon2id$new"))
	if cut {
		t.Error("cut")
	}
	for _, text := range []string{string(before), string(after)} {
		for _, secret := range []string{"argon2id", "hunter2", "bob", "sesame", "managedFields"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, text)
			}
		}
		if !strings.Contains(text, "https://redacted@example.org/x") || !strings.Contains(text, `"network":"hall"`) {
			t.Errorf("%s", text)
		}
	}
	if !strings.Contains(string(after), redactedChange) || strings.Contains(string(before), redactedChange) {
		t.Errorf("it does not say that the password changed: %s", after)
	}
	_, same, _ := Objects(node("$argon2id$old"), node("$argon2id$old"))
	if strings.Contains(string(same), redactedChange) {
		t.Errorf("it says that the password changed: %s", same)
	}
	token := &api.APIToken{Status: api.APITokenStatus{TokenHash: strings.Repeat("ab", 32), Token: "cyt1.secret", ExpirationTimestamp: time.Unix(1, 0).UTC()}}
	none, created, _ := Objects(nil, token)
	if none != nil || strings.Contains(string(created), "abab") || strings.Contains(string(created), "cyt1.") || !strings.Contains(string(created), "1970-01-01") {
		t.Errorf("%s %s", none, created)
	}
	var missing *api.Node
	if b, a, _ := Objects(missing, nil); b != nil || a != nil {
		t.Errorf("%s %s", b, a)
	}
	for in, want := range map[string]string{
		"https://x:y@git.example.org/a":     "https://redacted@git.example.org/a",
		"https://glpat-123@git.example.org": "https://redacted@git.example.org",
		"ssh://git@git.example.org/a":       "ssh://git@git.example.org/a",
		"ssh://git:pw@git.example.org/a":    "ssh://redacted@git.example.org/a",
		"git@git.example.org:a":             "git@git.example.org:a",
		"https://git.example.org/@x":        "https://git.example.org/@x",
		"a postgres://u:p@h b":              "a postgres://redacted@h b",
	} {
		if got := cleanText(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
	b, _, _ := Objects(object(t, `{"spec":{"url":"https://me:pw@h/x","secretName":"fleet","role":"r"}}`), nil)
	if !strings.Contains(string(b), `"secretName":"fleet"`) || strings.Contains(string(b), "pw") {
		t.Errorf("%s", b)
	}
}

func TestLargeObjectsAreReducedToWhatDiffers(t *testing.T) {
	policy := func(names int, assurance string) *api.AccessPolicy {
		p := &api.AccessPolicy{Metadata: api.ObjectMeta{Name: "p", Uid: "u"}, Spec: api.AccessPolicySpec{Network: "hall", MinimumAssurance: assurance, From: []api.Selector{{}}}}
		for i := range names {
			p.Spec.From[0].Names = append(p.Spec.From[0].Names, fmt.Sprintf("device-with-a-long-name-%04d", i))
		}
		return p
	}
	before, after, cut := Objects(policy(400, "mac"), policy(400, "key"))
	if !cut || !strings.Contains(string(before), `"mac"`) || !strings.Contains(string(after), `"key"`) || !strings.Contains(string(after), `"name":"p"`) || strings.Contains(string(after), "device-") {
		t.Errorf("%v %s %s", cut, before, after)
	}
	before, after, cut = Objects(policy(400, "mac"), policy(401, "mac"))
	if !cut || before != nil || after != nil {
		t.Errorf("%v: %d and %d bytes", cut, len(before), len(after))
	}
}
