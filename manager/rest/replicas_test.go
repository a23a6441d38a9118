package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// live makes a replica report; nobody has asked it to drain afterwards.
func (w *world) live(r keyspace.ReplicaRecord) {
	w.t.Helper()
	value, err := json.Marshal(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.commit(store.Put(keyspace.Live(r.Service, r.Name), value), store.Remove(keyspace.Drain(r.Service, r.Name)))
}

func (w *world) commit(writes ...store.Write) {
	w.t.Helper()
	if _, err := w.store.Commit(context.Background(), store.Transaction{Writes: writes}); err != nil {
		w.t.Fatal(err)
	}
}

func nmsRecord(name string, state keyspace.ReplicaState) keyspace.ReplicaRecord {
	return keyspace.ReplicaRecord{
		Name: name, Service: "nms", Host: "host-a", Version: "1.2.3", State: state, Since: time.Unix(2000, 0).UTC(), Started: time.Unix(1000, 0).UTC(),
		Load: keyspace.Load{CPU: 0.5, Memory: 1 << 20, Requests: 12.5, Sessions: 3},
	}
}

func names(list reply) string {
	items, _ := list.at("items").([]any)
	var all []string
	for _, i := range items {
		all = append(all, i.(map[string]any)["metadata"].(map[string]any)["name"].(string))
	}
	return strings.Join(all, " ")
}

func TestReplicasAreListedAndRead(t *testing.T) {
	w := newWorld(t)
	w.live(nmsRecord("nms-b", keyspace.ReplicaReady))
	w.live(nmsRecord("nms-a", keyspace.ReplicaLeaving))
	w.live(keyspace.ReplicaRecord{Name: "as-1", Service: "as", Host: "host-b", State: keyspace.ReplicaReady})
	w.commit(store.Put(keyspace.Live("trs", "broken"), []byte("{")), store.Put(keyspace.Live("trs", "liar"), []byte(`{"name":"nms-a","service":"nms"}`)))

	if got := names(w.must(200, "GET", "/api/v1/replicas", "")); got != "as-1 nms-a nms-b" {
		t.Errorf("listed: %s", got)
	}
	for selector, want := range map[string]string{
		"spec.service=nms": "nms-a nms-b", "spec.host!=host-a": "as-1", "status.state=Ready,spec.service=nms": "nms-b", "metadata.name=as-1": "as-1",
	} {
		if got := names(w.must(200, "GET", "/api/v1/replicas?fieldSelector="+selector, "")); got != want {
			t.Errorf("%s: %s, want %s", selector, got, want)
		}
	}
	w.must(400, "GET", "/api/v1/replicas?fieldSelector=spec.network=x", "")
	one := w.must(200, "GET", "/api/v1/replicas/nms-b", "")
	for path, want := range map[string]string{
		"kind": "Replica", "spec.service": "nms", "spec.host": "host-a", "status.state": "Ready", "status.version": "1.2.3",
		"status.load.cpu": "0.5", "status.load.memoryBytes": "1.048576e+06", "status.load.requestsPerSecond": "12.5", "status.load.sessions": "3",
	} {
		if got := fmt.Sprint(one.at(path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if one.text("metadata.uid") == "" || one.header.Get("ETag") == "" {
		t.Errorf("uid %q, ETag %q", one.text("metadata.uid"), one.header.Get("ETag"))
	}
	w.must(404, "GET", "/api/v1/replicas/nms-c", "")
	w.live(keyspace.ReplicaRecord{Name: "as-1", Service: "trs", Host: "host-b", State: keyspace.ReplicaReady})
	if a := w.must(409, "GET", "/api/v1/replicas/as-1", ""); !strings.Contains(a.text("detail"), "one of as, one of trs") {
		t.Errorf("two of one name: %s", a.text("detail"))
	}
}

func TestReplicasArePaged(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.live(nmsRecord(fmt.Sprintf("nms-%d", i), keyspace.ReplicaReady))
	}
	var seen []string
	query := ""
	for range 5 {
		page := w.must(200, "GET", "/api/v1/replicas?limit=2"+query, "")
		seen = append(seen, names(page))
		w.live(nmsRecord("nms-00", keyspace.ReplicaReady)) // later pages are of the same revision
		token := page.text("metadata.continue")
		if token == "" {
			break
		}
		query = "&continue=" + token
	}
	if got := strings.Join(seen, "|"); got != "nms-0 nms-1|nms-2 nms-3|nms-4" {
		t.Errorf("pages: %s", got)
	}
}

func TestReplicasCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.live(nmsRecord("nms-a", keyspace.ReplicaReady))
	for _, method := range []string{"PUT", "DELETE", "PATCH"} {
		if a := w.do(method, "/api/v1/replicas/nms-a", w.admin, "{}"); a.code != http.StatusMethodNotAllowed && a.code != http.StatusNotFound {
			t.Errorf("%s: %d", method, a.code)
		}
	}
}

func (w *world) drainKey(name string) (keyspace.DrainRecord, bool) {
	w.t.Helper()
	e, err := w.store.Get(w.t.Context(), keyspace.Drain("nms", name))
	if err != nil {
		return keyspace.DrainRecord{}, false
	}
	var r keyspace.DrainRecord
	if err := json.Unmarshal(e.Value, &r); err != nil {
		w.t.Fatal(err)
	}
	return r, true
}

func TestAReplicaIsAskedToDrainOnce(t *testing.T) {
	w := newWorld(t)
	w.live(nmsRecord("nms-a", keyspace.ReplicaReady))
	w.must(202, "POST", "/api/v1/replicas/nms-a/drain?dryRun=All", "")
	if _, ok := w.drainKey("nms-a"); ok {
		t.Fatal("a dry run asked it")
	}
	a := w.must(202, "POST", "/api/v1/replicas/nms-a/drain", "")
	asked, ok := w.drainKey("nms-a")
	if !ok || asked.By != "admin" && !strings.Contains(asked.By, "admin") || a.text("status.drainRequestedBy") != asked.By {
		t.Fatalf("%+v %v, answered %s", asked, ok, a.raw)
	}
	w.must(202, "POST", "/api/v1/replicas/nms-a/drain", "")
	if again, _ := w.drainKey("nms-a"); !again.Requested.Equal(asked.Requested) {
		t.Error("it was asked again")
	}
	if one := w.must(200, "GET", "/api/v1/replicas/nms-a", ""); one.text("status.drainRequestedBy") != asked.By || one.text("status.drainRequested") == "" {
		t.Errorf("it does not show: %s", one.raw)
	}
	w.must(404, "POST", "/api/v1/replicas/nms-b/drain", "")
	// One that leaves by itself need not be asked.
	w.live(nmsRecord("nms-c", keyspace.ReplicaFinishing))
	w.must(202, "POST", "/api/v1/replicas/nms-c/drain", "")
	if _, ok := w.drainKey("nms-c"); ok {
		t.Error("one that is finishing was asked")
	}
	// The wish was for another one of its name.
	r := nmsRecord("nms-a", keyspace.ReplicaReady)
	r.Started = asked.Requested.Add(time.Second)
	value, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	w.commit(store.Put(keyspace.Live("nms", "nms-a"), value)) // which took the record over
	if one := w.must(200, "GET", "/api/v1/replicas/nms-a", ""); one.text("status.drainRequestedBy") != "" {
		t.Errorf("it is said to drain: %s", one.raw)
	}
	r.Started = time.Unix(1, 0) // by a clock that is wrong
	if value, err = json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	w.commit(store.Remove(keyspace.Live("nms", "nms-a")))
	w.commit(store.Put(keyspace.Live("nms", "nms-a"), value))
	if one := w.must(200, "GET", "/api/v1/replicas/nms-a", ""); one.text("status.drainRequestedBy") != "" {
		t.Errorf("it is said to drain: %s", one.raw)
	}
}

func TestReplicasAreWatched(t *testing.T) {
	w := newWorld(t)
	w.live(nmsRecord("nms-a", keyspace.ReplicaReady))
	w.live(nmsRecord("nms-b", keyspace.ReplicaStarting))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", w.url+"/api/v1/replicas?watch=true&fieldSelector=status.state=Ready", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.admin)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	decoder := json.NewDecoder(a.Body)
	next := func() string {
		t.Helper()
		for {
			var e struct {
				Type   string
				Object struct {
					Metadata struct{ Name string }
					Status   struct{ State, DrainRequestedBy string }
				}
			}
			if err := decoder.Decode(&e); err != nil {
				t.Fatal(err)
			}
			if e.Type != "BOOKMARK" {
				return strings.Join([]string{e.Type, e.Object.Metadata.Name, e.Object.Status.State, e.Object.Status.DrainRequestedBy}, " ")
			}
		}
	}
	expect := func(want string) {
		t.Helper()
		if got := next(); strings.TrimSpace(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	expect("ADDED nms-a Ready")
	w.live(nmsRecord("nms-b", keyspace.ReplicaReady)) // comes into the selection
	expect("ADDED nms-b Ready")
	w.live(nmsRecord("nms-b", keyspace.ReplicaReady))
	expect("MODIFIED nms-b Ready")
	w.must(202, "POST", "/api/v1/replicas/nms-b/drain", "")
	by, _ := w.drainKey("nms-b")
	value, err := json.Marshal(nmsRecord("nms-b", keyspace.ReplicaReady))
	if err != nil {
		t.Fatal(err)
	}
	w.commit(store.Put(keyspace.Live("nms", "nms-b"), value))
	expect("MODIFIED nms-b Ready " + by.By)
	w.live(nmsRecord("nms-b", keyspace.ReplicaLeaving)) // leaves the selection
	if got := next(); !strings.HasPrefix(got, "DELETED nms-b") {
		t.Errorf("got %q", got)
	}
	w.commit(store.Remove(keyspace.Live("nms", "nms-a")))
	expect("DELETED nms-a Ready")
}

func TestTheDrainIsInTheAuditLog(t *testing.T) {
	w := newWorld(t)
	w.live(nmsRecord("nms-a", keyspace.ReplicaReady))
	w.must(202, "POST", "/api/v1/replicas/nms-a/drain", "")
	pending, err := w.store.List(t.Context(), keyspace.AuditPrefix, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range pending.Entries {
		if bytes.Contains(e.Value, []byte(`"Replica"`)) && bytes.Contains(e.Value, []byte("drainRequestedBy")) {
			return
		}
	}
	t.Errorf("no record among %d", len(pending.Entries))
}

// What speakers and replicas say of themselves is for the leader to write, not for who may report.
func TestObservedStatusIsNotForReporters(t *testing.T) {
	w := newWorld(t)
	w.must(201, "POST", "/api/v1/cloudservices", resource("CloudService", "nms", `{"service":"nms","ipv4":"203.0.113.1"}`))
	w.must(201, "POST", "/api/v1/bgppeers", resource("BGPPeer", "r", `{"peerAddress":"192.0.2.1","peerASN":64512,"localASN":64513}`))
	w.must(201, "POST", "/api/v1/bgpadvertisements", resource("BGPAdvertisement", "all", `{"peers":["r"]}`))
	token := w.must(201, "POST", "/api/v1/apitokens", resource("APIToken", "reporter", `{"rules":[{"verbs":["get","report"],"kinds":["*"]}]}`)).text("status.token")
	for path, status := range map[string]string{
		"cloudservices/nms":     `{"readyReplicas":9,"announcedBy":["evil"]}`,
		"bgppeers/r":            `{"sessions":[{"host":"evil","state":"Established"}]}`,
		"bgpadvertisements/all": `{"prefixes":[{"prefix":"203.0.113.9/32","hosts":["evil"]}]}`,
	} {
		o := w.must(200, "GET", "/api/v1/"+path, "")
		body := strings.TrimSuffix(strings.TrimSpace(o.raw), "}") + `,"status":` + strings.TrimSuffix(status, "}") + `,"conditions":[{"type":"Seen","status":"True"}]}}`
		if a := w.do("PUT", "/api/v1/"+path+"/status", token, body); a.code != 200 {
			t.Fatalf("%s: %d %s", path, a.code, a.raw)
		}
		after := w.must(200, "GET", "/api/v1/"+path, "")
		if strings.Contains(after.raw, "evil") || !strings.Contains(after.raw, "Seen") {
			t.Errorf("%s: %s", path, after.raw)
		}
	}
}
