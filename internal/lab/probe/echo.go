package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// maxEchoConnections bounds the TCP echo; further connections wait in the kernel's backlog.
const maxEchoConnections = 256

// ServeEcho sends back whatever each TCP connection sends, until ctx ends.
func ServeEcho(ctx context.Context, listener net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	slots := make(chan struct{}, maxEchoConnections)
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		slots <- struct{}{}
		connections.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			_, _ = io.Copy(conn, conn) // the other end judges the connection
		})
	}
}

// ServeEchoUDP sends back every datagram to where it came from, until ctx ends.
func ServeEchoUDP(ctx context.Context, conn *net.UDPConn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	buf := make([]byte, 64<<10)
	for {
		n, source, err := conn.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			continue // an ICMP error of an earlier answer
		}
		_, _ = conn.WriteToUDPAddrPort(buf[:n], source)
	}
}
