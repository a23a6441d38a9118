package replica

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// newWatcher returns a watcher that ends when its stream does. It must be closed.
func newWatcher(client *Client) clientv3.Watcher {
	conn := client.ActiveConnection()
	if conn == nil { // etcd is in this process: there is no stream that could break
		return shared{client.Watcher}
	}
	return clientv3.NewWatchFromWatchClient(&oneStream{WatchClient: etcdserverpb.NewWatchClient(conn)}, client)
}

// shared is a watcher that others use too.
type shared struct{ clientv3.Watcher }

// Close leaves it open.
func (shared) Close() error { return nil }

// oneStream lets a watcher of etcd's client have one stream only. The client would mend a broken one by itself and go on
// after the revision of the last response, be it a progress notification that ran ahead of events. So the watch ends,
// and who follows begins another after the last event.
type oneStream struct {
	etcdserverpb.WatchClient
	had bool // owned by the goroutine of the client that opens streams
}

// Watch opens the stream. The error after that is one upon which the client gives up.
func (o *oneStream) Watch(ctx context.Context, options ...grpc.CallOption) (etcdserverpb.Watch_WatchClient, error) {
	if o.had {
		return nil, status.Error(codes.Aborted, "the stream of the watch has ended")
	}
	stream, err := o.WatchClient.Watch(ctx, options...)
	o.had = err == nil
	return stream, err
}
