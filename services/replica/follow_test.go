package replica

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// mirror is what a program knows that heeds Follow.
type mirror struct {
	t *testing.T

	mu    sync.Mutex
	keys  map[string]string
	order []string // of puts and deletes, as they came
	lists int
	ups   []bool
}

func (m *mirror) update(u Update) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u.List {
		m.lists++
		m.keys = make(map[string]string)
	}
	for _, key := range u.Deletes {
		delete(m.keys, key)
		m.order = append(m.order, "-"+key)
	}
	for _, item := range u.Puts {
		m.keys[item.Key] = string(item.Value)
		m.order = append(m.order, item.Key)
		if slices.Contains(u.Deletes, item.Key) || item.Revision == 0 {
			m.t.Errorf("%s is put and deleted, or has no revision", item.Key)
		}
	}
}

func (m *mirror) connected(up bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ups = append(m.ups, up)
}

func (m *mirror) has(want map[string]string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Equal(m.keys, want)
}

func (m *mirror) listed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lists
}

func (m *mirror) isUp() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ups) > 0 && m.ups[len(m.ups)-1]
}

// startFollow mirrors the prefixes until the test ends.
func startFollow(t *testing.T, client *clientv3.Client, prefixes ...string) *mirror {
	t.Helper()
	m := &mirror{t: t}
	o := FollowOptions{Client: client, Prefixes: prefixes, Log: quiet(), Connected: m.connected}
	background(t, func(ctx context.Context) error { return Follow(ctx, o, m.update) })
	eventually(t, 10*time.Second, "the first list", func() bool { return m.listed() == 1 })
	return m
}

func (m *mirror) expect(limit time.Duration, what string, want map[string]string) {
	m.t.Helper()
	eventually(m.t, limit, what, func() bool { return m.has(want) })
}

func mustPut(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := client.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func TestFollowListsAndThenReportsChangesInOrder(t *testing.T) {
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	client := server.Client()
	for i := range 2*listPage + 1 { // more than two pages
		mustPut(t, client, fmt.Sprintf("/a/%05d", i), "x")
	}
	mustPut(t, client, "/b/1", "one")
	mustPut(t, client, "/c/1", "not followed")
	m := startFollow(t, client, "/a/", "/b/")
	m.mu.Lock()
	if len(m.keys) != 2*listPage+2 {
		t.Errorf("%d keys in the list", len(m.keys))
	}
	m.order = nil
	m.mu.Unlock()
	for _, key := range []string{"/a/3", "/a/1", "/a/2"} {
		mustPut(t, client, key, key)
	}
	if _, err := client.Delete(t.Context(), "/a/1"); err != nil {
		t.Fatal(err)
	}
	mustPut(t, client, "/b/1", "two")
	eventually(t, 5*time.Second, "all changes", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return len(m.order) >= 5 })
	m.mu.Lock()
	defer m.mu.Unlock()
	inA := slices.DeleteFunc(slices.Clone(m.order), func(key string) bool { return key == "/b/1" })
	if want := []string{"/a/3", "/a/1", "/a/2", "-/a/1"}; !slices.Equal(inA, want) || m.keys["/b/1"] != "two" || m.lists != 1 {
		t.Errorf("changes came as %v, after %d lists", m.order, m.lists)
	}
}

func TestOfSeveralChangesOfAKeyTheLastOneCounts(t *testing.T) {
	var got []Update
	w := &follower{prefixes: []string{"/a/"}, changed: func(u Update) { got = append(got, u) }}
	w.begun(1)
	put := func(key, value string, revision int64) *clientv3.Event {
		return &clientv3.Event{Type: clientv3.EventTypePut, Kv: keyValue(key, value, revision)}
	}
	gone := &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: keyValue("/a/x", "", 4)}
	response := clientv3.WatchResponse{Events: []*clientv3.Event{
		put("/a/x", "1", 2), put("/a/y", "1", 3), gone, put("/a/z", "1", 5), put("/a/y", "2", 6),
	}}
	response.Header = &etcdserverpb.ResponseHeader{Revision: 99} // etcd is ahead of a watch that catches up
	w.report(news{0, response})
	if len(got) != 1 || got[0].Revision != 6 || !slices.Equal(got[0].Deletes, []string{"/a/x"}) || len(got[0].Puts) != 2 ||
		got[0].Puts[0].Key != "/a/z" || string(got[0].Puts[1].Value) != "2" {
		t.Errorf("%+v", got)
	}
	w.report(news{0, clientv3.WatchResponse{}})
	if len(got) != 1 {
		t.Error("a response that says nothing is reported")
	}
}

func TestFollowGoesOnAfterAnOutageWhereItWas(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	client := server.client()
	mustPut(t, client, "/a/1", "one")
	m := startFollow(t, client, "/a/", "/b/")
	m.expect(5*time.Second, "the list", map[string]string{"/a/1": "one"})
	eventually(t, 5*time.Second, "connected", m.isUp)
	server.kill()
	eventually(t, 10*time.Second, "not connected", func() bool { return !m.isUp() })
	if !m.has(map[string]string{"/a/1": "one"}) {
		t.Error("something was reported while etcd was away")
	}
	server.start()
	mustPut(t, client, "/a/2", "two")
	mustPut(t, client, "/b/1", "three")
	m.expect(10*time.Second, "changes after the outage", map[string]string{"/a/1": "one", "/a/2": "two", "/b/1": "three"})
	eventually(t, 10*time.Second, "connected again", m.isUp)
	if n := m.listed(); n != 1 {
		t.Errorf("%d lists were read", n)
	}
}

func TestFollowListsAgainAfterACompaction(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	hose := server.hose()
	direct := server.client()
	mustPut(t, direct, "/a/1", "one")
	mustPut(t, direct, "/a/2", "two")
	m := startFollow(t, server.client(hose.addr), "/a/")
	hose.sever()
	if _, err := direct.Delete(t.Context(), "/a/1"); err != nil {
		t.Fatal(err)
	}
	put, err := direct.Put(t.Context(), "/a/3", "three")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := direct.Compact(t.Context(), put.Header.Revision); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "not connected", func() bool { return !m.isUp() })
	hose.mend()
	m.expect(20*time.Second, "what is there after the compaction", map[string]string{"/a/2": "two", "/a/3": "three"})
	if n := m.listed(); n != 2 {
		t.Errorf("%d lists were read", n)
	}
	mustPut(t, direct, "/a/4", "four")
	m.expect(5*time.Second, "changes after it", map[string]string{"/a/2": "two", "/a/3": "three", "/a/4": "four"})
}

func TestFollowNoticesAnotherHistory(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	client := server.client()
	for i := range 20 {
		mustPut(t, client, "/a/1", fmt.Sprint(i))
	}
	m := startFollow(t, client, "/a/")
	server.kill()
	server.forget()
	server.start()
	mustPut(t, client, "/a/2", "new")
	m.expect(20*time.Second, "the list of the new etcd", map[string]string{"/a/2": "new"})
	mustPut(t, client, "/a/3", "newer")
	m.expect(5*time.Second, "its changes", map[string]string{"/a/2": "new", "/a/3": "newer"})
}

// A member that vanishes leaves a connection on which nothing comes and nothing fails for a long time.
func TestFollowGivesUpAMemberThatVanished(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	ways := []*hose{server.hose(), server.hose(), server.hose()}
	direct := server.client()
	mustPut(t, direct, "/a/1", "0")
	m := startFollow(t, server.client(ways[0].addr, ways[1].addr, ways[2].addr), "/a/")
	for i, way := range ways { // the watch goes through one of them
		way.pinch()
		value := fmt.Sprint(i + 1)
		mustPut(t, direct, "/a/1", value)
		m.expect(15*time.Second, fmt.Sprintf("a change while member %d is away", i), map[string]string{"/a/1": value})
		way.release()
	}
	if n := m.listed(); n != 1 {
		t.Errorf("%d lists were read", n)
	}
}
