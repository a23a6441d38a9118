package replica

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

func progressTo(revision int64) clientv3.WatchResponse {
	return clientv3.WatchResponse{Header: &etcdserverpb.ResponseHeader{Revision: revision}}
}

func putAt(key string, revision int64) clientv3.WatchResponse {
	r := progressTo(revision)
	r.Events = []*clientv3.Event{{Type: clientv3.EventTypePut, Kv: keyValue(key, "x", revision)}}
	return r
}

// Progress notifications may run ahead of events. No revision is reported before the events up to it, unless these come
// later than the next notification, and a watch never goes on after an event that has not come.
func TestProgressThatRunsAheadOfEventsLosesNone(t *testing.T) {
	var got []Update
	w := &follower{prefixes: []string{"/a/", "/b/"}, changed: func(u Update) { got = append(got, u) }}
	w.begun(5)
	for _, step := range []struct {
		name          string
		prefix        int
		response      clientv3.WatchResponse
		seen, certain int64
		reported      int // updates in all
	}{
		{"a first notification counts for nothing", 0, progressTo(10), 5, 5, 0},
		{"an event that it has overtaken", 0, putAt("/a/1", 8), 8, 8, 1},
		{"a second one confirms the first", 0, progressTo(12), 10, 8, 2},
		{"an event that two have overtaken", 0, putAt("/a/2", 9), 10, 9, 3},
		{"a third one confirms the second", 0, progressTo(12), 12, 9, 4},
		{"the same again is no news", 0, progressTo(12), 12, 9, 4},
		{"one that goes back is none either", 0, progressTo(7), 12, 9, 4},
		{"the other prefix is on its own", 1, progressTo(12), 5, 5, 4},
		{"an event", 0, putAt("/a/3", 20), 20, 20, 5},
	} {
		w.report(news{step.prefix, step.response})
		if w.seen[step.prefix] != step.seen || w.certain[step.prefix] != step.certain || len(got) != step.reported {
			t.Errorf("%s: seen %d, goes on after %d, %d updates; want %d, %d, %d",
				step.name, w.seen[step.prefix], w.certain[step.prefix], len(got), step.seen, step.certain, step.reported)
		}
	}
	if len(got) == 5 && (len(got[2].Puts) != 1 || got[2].Revision != 10) {
		t.Errorf("the late event came as %+v", got[2])
	}
	if oldest := w.oldest.Load(); oldest != 5 {
		t.Errorf("the smallest revision is %d", oldest)
	}
}

// aheadServer is an etcd whose first stream says that everything up to revision 9 has been sent, twice, and breaks before
// the event of revision 8.
type aheadServer struct {
	etcdserverpb.UnimplementedWatchServer
	etcdserverpb.UnimplementedKVServer
	from chan int64 // the revisions at which watches begin
}

func (a *aheadServer) Range(_ context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	answer := &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{ClusterId: 1, Revision: 9}}
	if !r.CountOnly {
		answer.Header.Revision = 5
	}
	return answer, nil
}

func (a *aheadServer) Watch(stream etcdserverpb.Watch_WatchServer) error {
	header := &etcdserverpb.ResponseHeader{ClusterId: 1, Revision: 9}
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		if request.GetProgressRequest() != nil {
			if err := stream.Send(&etcdserverpb.WatchResponse{Header: header, WatchId: clientv3.InvalidWatchID}); err != nil {
				return err
			}
			continue
		}
		create := request.GetCreateRequest()
		if create == nil {
			continue
		}
		a.from <- create.StartRevision
		answers := []*etcdserverpb.WatchResponse{{Header: header, Created: true}, {Header: header}, {Header: header}}
		second := len(a.from) == 2
		if second && create.StartRevision <= 8 {
			answers = append(answers[:1], &etcdserverpb.WatchResponse{Header: header, Events: []*mvccpb.Event{{Type: mvccpb.PUT, Kv: keyValue("/a/1", "late", 8)}}})
		}
		for _, answer := range answers {
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
		if !second {
			time.Sleep(50 * time.Millisecond)
			return rpctypes.ErrGRPCStopped // unavailable: the client of etcd would begin again by itself
		}
	}
}

func TestAWatchThatBreaksGoesOnAfterTheLastEvent(t *testing.T) {
	a := &aheadServer{from: make(chan int64, 16)}
	addr := serveEtcd(t, func(s *grpc.Server) {
		etcdserverpb.RegisterKVServer(s, a)
		etcdserverpb.RegisterWatchServer(s, a)
	})
	client := (&server{t: t, addr: addr}).client()
	m := startFollow(t, client, "/a/")
	m.expect(10*time.Second, "the event that the first stream did not send", map[string]string{"/a/1": "late"})
	for range 2 {
		if from := <-a.from; from != 6 {
			t.Errorf("a watch begins at revision %d, want 6", from)
		}
	}
}

// slowServer answers each renewal of a lease, but late.
type slowServer struct {
	etcdserverpb.UnimplementedLeaseServer
	delay time.Duration
	ttl   int64
}

func (s *slowServer) LeaseKeepAlive(stream etcdserverpb.Lease_LeaseKeepAliveServer) error {
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	select {
	case <-time.After(s.delay):
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	return stream.Send(&etcdserverpb.LeaseKeepAliveResponse{Header: &etcdserverpb.ResponseHeader{}, ID: request.ID, TTL: s.ttl})
}

// On a busy machine etcd may need long for each answer: the lease is kept all the same.
func TestARenewalMayTakeNearlyAsLongAsTheLeaseLives(t *testing.T) {
	for _, row := range []struct {
		name  string
		delay time.Duration
		ttl   int64
		want  error
	}{
		{"at once", 0, 2, nil},
		{"slowly", 1400 * time.Millisecond, 2, nil},
		{"too late", 10 * time.Second, 2, context.DeadlineExceeded},
		{"the lease is gone", 500 * time.Millisecond, 0, rpctypes.ErrLeaseNotFound},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			addr := serveEtcd(t, func(s *grpc.Server) {
				etcdserverpb.RegisterLeaseServer(s, &slowServer{delay: row.delay, ttl: row.ttl})
			})
			l := newRecord((&server{t: t, addr: addr}).client(), "")
			begun := time.Now()
			err := l.renew(t.Context(), 7, begun.Add(l.ttl))
			if !errors.Is(err, row.want) || time.Since(begun) > l.ttl+time.Second {
				t.Errorf("%v after %s, want %v", err, time.Since(begun), row.want)
			}
		})
	}
}
