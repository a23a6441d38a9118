package speaker_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/balancer"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// A speaker that is killed and comes back is not felt by anybody: no datagram is lost or reaches another replica, and TCP
// connections go on. The route is a fixed one here, as that of a router that has not noticed yet.
func TestTheSpeakerIsKilledUnderTraffic(t *testing.T) {
	t.Parallel()
	n := newNet(t, "a")
	n.settings.Netfilter, n.settings.Grace = true, 3*time.Second
	if _, err := n.lab.Host("a").Run(t.Context(), "ip", "route", "add", vip4+"/32", "via", hostIP4, "metric", "4000000"); err != nil {
		t.Fatal(err)
	}
	n.put(service("nms"), advertisement("all", nil))
	n.put(&api.CloudService{Metadata: api.ObjectMeta{Name: "as"}, Spec: api.CloudServiceSpec{Service: "as", Ipv4: vip4, Port: 7441}})
	n.start()
	var work sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(work.Wait)
	t.Cleanup(stop)
	var inService atomic.Int64
	replicas := []balancer.Registration{{Service: "nms", Name: "nms-1", Port: 17442}, {Service: "nms", Name: "nms-2", Port: 17443}, {Service: "as", Name: "as-1", Port: 17441}}
	for _, r := range replicas {
		r.Addresses = addresses(hostIP4)
		n.echo(ctx, &work, r)
		c := balancer.NewClient(balancer.ClientOptions{
			Socket: filepath.Join(n.directory, "speaker.sock"), Registration: r, Log: slog.New(slog.DiscardHandler),
			Changed: func(is bool) { inService.Add(map[bool]int64{true: 1, false: -1}[is]) },
		})
		c.SetState(keyspace.ReplicaReady)
		work.Go(func() { _ = c.Run(ctx) })
	}
	all := func() {
		t.Helper()
		n.await("all replicas in service", 10*time.Second, func() (string, bool) {
			return fmt.Sprint(inService.Load()), inService.Load() == int64(len(replicas))
		})
	}
	all()
	traffic := n.traffic(ctx, &work)
	for range 4 {
		n.speaker.Kill()
		time.Sleep(700 * time.Millisecond) // the replicas try less often by now, each for itself
		n.start()
		all()
		time.Sleep(time.Second)
	}
	stop()
	work.Wait()
	if udp, tcp := traffic[0].Load(), traffic[1].Load(); udp < 1000 || tcp < 200 {
		t.Errorf("%d datagrams and %d messages over TCP: too few to say anything", udp, tcp)
	} else {
		t.Logf("%d datagrams and %d messages over TCP while the speaker was killed four times", udp, tcp)
	}
}

// echo answers in the name of a replica.
func (n *net1) echo(ctx context.Context, work *sync.WaitGroup, r balancer.Registration) {
	n.t.Helper()
	at := fmt.Sprintf("%s:%d", hostIP4, r.Port)
	if r.Service == "nms" {
		socket, err := n.lab.Host("host").ListenUDP(at)
		if err != nil {
			n.t.Fatal(err)
		}
		context.AfterFunc(ctx, func() { _ = socket.Close() })
		work.Go(func() {
			buffer := make([]byte, 64)
			for {
				size, from, err := socket.ReadFromUDPAddrPort(buffer)
				if err != nil {
					return
				}
				_, _ = socket.WriteToUDPAddrPort(fmt.Appendf(nil, "%s %s\n", buffer[:size], r.Name), from)
			}
		})
		return
	}
	listener, err := n.lab.Host("host").ListenTCP(at)
	if err != nil {
		n.t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { _ = conn.Close() })
			work.Go(func() {
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					_, _ = fmt.Fprintf(conn, "%s %s\n", lines.Text(), r.Name)
				}
			})
		}
	})
}

// traffic asks until ctx ends, over eight UDP sockets and four TCP connections, and counts the answers. An answer that
// does not come, or comes from another replica than before, is an error.
func (n *net1) traffic(ctx context.Context, work *sync.WaitGroup) *[2]atomic.Int64 {
	n.t.Helper()
	var counts [2]atomic.Int64
	for i := range 12 {
		network, port, count := "udp", "7442", &counts[0]
		if i >= 8 {
			network, port, count = "tcp", "7441", &counts[1]
		}
		conn, err := n.lab.Host("a").Dial(ctx, network, net.JoinHostPort(vip4, port))
		if err != nil {
			n.t.Fatal(err)
		}
		work.Go(func() {
			defer conn.Close()
			n.ask(ctx, conn, count)
		})
	}
	return &counts
}

func (n *net1) ask(ctx context.Context, conn net.Conn, count *atomic.Int64) {
	owner, buffer := "", make([]byte, 64)
	for i := 0; ctx.Err() == nil; i++ {
		question := fmt.Sprint(i)
		if conn.LocalAddr().Network() == "tcp" {
			question += "\n"
		}
		_, err := conn.Write([]byte(question))
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		size, readErr := conn.Read(buffer)
		if ctx.Err() != nil {
			return
		}
		number, name, _ := strings.Cut(strings.TrimSpace(string(buffer[:size])), " ")
		if err != nil || readErr != nil || number != strings.TrimSpace(question) || owner != "" && name != owner {
			n.t.Errorf("%s: message %d: %q instead of %s's answer: %v %v", conn.LocalAddr().Network(), i, buffer[:size], owner, err, readErr)
			return
		}
		owner = name
		count.Add(1)
		time.Sleep(2 * time.Millisecond)
	}
}
