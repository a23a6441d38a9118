package manager

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// useTelemetry pushes metrics as an adapter, and what is none.
func (s *scan) useTelemetry() {
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	name, value := "cyphonic_adapter_scanned_total", 1.0
	_, err := protodelim.MarshalTo(z, &dto.MetricFamily{
		Name: &name, Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{{Counter: &dto.Counter{Value: &value}}},
	})
	if err != nil || z.Close() != nil {
		s.t.Fatal(err)
	}
	push := func(token, base, body string) int {
		code, _, _ := s.ask("POST", "/api/v1/adapters/hall-1/metrics", token, body, "Content-Type", "application/octet-stream", "Content-Encoding", "gzip",
			"Cyphonic-Metrics-Boot", "boot-of-the-scan", "Cyphonic-Metrics-Sequence", "7", "Cyphonic-Metrics-Base", base)
		return code
	}
	token := s.secrets["access token"]
	for _, c := range []struct {
		name, token, base, body string
		want                    int
	}{
		{"a push that is none", token, "0", token + s.secrets["password"], 400},
		{"one that builds on another", token, "6", body.String(), 409},
		{"an expired token", s.secrets["expired access token"], "0", body.String(), 401},
		{"a good one", token, "0", body.String(), 204},
	} {
		if got := push(c.token, c.base, c.body); got != c.want {
			s.t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	out, where := s.must(200, "GET", "/api/v1/telemetry/metrics", "")
	s.sheets.mu.Lock()
	defer s.sheets.mu.Unlock()
	if text := s.sheets.texts[where]; out != nil || !strings.Contains(text, name) {
		s.t.Errorf("the push is not shown: %s", text)
	}
}

// restore sends a backup back as it is after decryption, with all keys in it,
// whole and broken in places where what was read last could be repeated.
func (s *scan) restore(identity *age.X25519Identity) {
	r, err := http.NewRequest("GET", s.base+"/api/v1/backup?recipient="+identity.Recipient().String(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.cred.token)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	a, err := s.client.Do(r.WithContext(ctx))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	opened, err := age.Decrypt(a.Body, identity)
	if err != nil {
		s.t.Fatal(err)
	}
	plain, err := io.ReadAll(opened)
	if err != nil || len(plain) < 1000 {
		s.t.Fatal(err, len(plain))
	}
	send := func(body string) int {
		code, _, _ := s.ask("POST", "/api/v1/restore?replace=true", s.cred.token, body, "Content-Type", "application/octet-stream")
		return code
	}
	damaged := []byte(string(plain))
	damaged[len(damaged)/2] ^= 1
	for name, body := range map[string]string{
		"cut off": string(plain[:len(plain)/2]), "damaged": string(damaged), "no backup": s.secrets["API token"] + keyspace.KeysPrefix, "too much": string(plain) + s.secrets["password"],
	} {
		if code := send(body); code != 400 {
			s.t.Errorf("a backup that is %s: %d", name, code)
		}
	}
	if code := send(string(plain)); code != 200 {
		s.t.Errorf("restoration: %d", code)
	}
}

// What the scan finds is worth nothing if it cannot find: each place that it
// looks at, and each form, is tried with a secret that is there.
func TestTheScanFindsWhatIsThere(t *testing.T) {
	const secret = "cyt1.a/secret+that=is there"
	for _, where := range []string{"log", "answer 1 to GET /x", "store: /cyphonic/log/v1/audit/x", "answer out of the store: /cyphonic/v1/x"} {
		for _, form := range secretForms(secret) {
			s := &sheets{texts: map[string]string{}}
			s.add("elsewhere", "nothing")
			s.add(where, "before "+form+" after")
			if got := s.find(secret, ""); len(got) != 1 || !strings.Contains(got[0], where) {
				t.Errorf("%q in %s: %v", form, where, got)
			}
			if got := s.find(secret, where); len(got) != 0 {
				t.Errorf("%q may be shown in %s: %v", form, where, got)
			}
		}
	}
	if got := (&sheets{texts: map[string]string{"log": "cyt1.a"}}).find(secret, ""); len(got) != 0 {
		t.Error(fmt.Sprint(got))
	}
}
