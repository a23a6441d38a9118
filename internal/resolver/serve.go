package resolver

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// serveUDP reads questions and works on each in a goroutine of its own, at most maxQuestions at once.
func (r *Resolver) serveUDP(ctx context.Context, conn *net.UDPConn, wg *sync.WaitGroup) {
	buf := make([]byte, maxUDPMessage)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier answer
		}
		client := from.Addr().Unmap()
		if !r.work.enter(client) {
			r.metrics.count("any", "busy")
			continue
		}
		query := bytes.Clone(buf[:n])
		wg.Go(func() {
			defer r.work.leave(client)
			if reply := r.answer(ctx, client, query, "udp"); reply != nil {
				_, _ = conn.WriteToUDPAddrPort(reply, from)
			}
		})
	}
}

// serveTCP accepts at most maxConnections at once.
func (r *Resolver) serveTCP(ctx context.Context, listener *net.TCPListener, wg *sync.WaitGroup) {
	connections := make(chan struct{}, maxConnections)
	for {
		select {
		case connections <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			<-connections
			pause(ctx)
			continue
		}
		wg.Go(func() {
			defer func() { <-connections }()
			r.serveConnection(ctx, conn)
		})
	}
}

// serveConnection answers the questions of one TCP connection in order.
func (r *Resolver) serveConnection(ctx context.Context, conn *net.TCPConn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	for {
		_ = conn.SetDeadline(time.Now().Add(idleTimeout))
		query, err := readFrame(conn)
		if err != nil {
			return
		}
		reply := r.limited(ctx, from, query)
		if reply == nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(idleTimeout))
		if writeFrame(conn, reply) != nil {
			return
		}
	}
}

// limited waits for a place: a TCP client has to wait, it cannot flood.
func (r *Resolver) limited(ctx context.Context, from netip.Addr, query []byte) []byte {
	for !r.work.enter(from) {
		if pause(ctx); ctx.Err() != nil {
			return nil
		}
	}
	defer r.work.leave(from)
	return r.answer(ctx, from, query, "tcp")
}

// pause keeps a failing accept (out of file descriptors) and a wait for a place from spinning.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}
