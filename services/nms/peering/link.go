package peering

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// link is an open connection with another replica.
type link struct {
	peer    Peer
	version uint8
	conn    net.Conn
	metrics *metrics
	wake    chan struct{} // of size 1: there is something to send
	done    chan struct{} // closed when the link has ended and its handler knows

	mu     sync.Mutex
	queue  []byte
	ended  bool
	reason ending
}

func newLink(peer Peer, version uint8, conn net.Conn, m *metrics) *link {
	return &link{
		peer: peer, version: version, conn: conn, metrics: m,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// send queues messages.
func (l *link) send(b []byte) {
	l.mu.Lock()
	full := len(l.queue)+len(b) > maxQueue
	if !full && !l.ended {
		l.queue = append(l.queue, b...)
	}
	l.mu.Unlock()
	if full {
		l.metrics.lost.Add(float64(len(b)))
		l.end(endedSlow)
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// end closes the link. The first reason counts.
func (l *link) end(reason ending) {
	l.mu.Lock()
	first := !l.ended
	l.ended = true
	if first {
		l.reason = reason
	}
	l.mu.Unlock()
	if first {
		// A close in good order could wait for a peer that takes nothing.
		_ = l.conn.SetDeadline(time.Unix(1, 0))
		_ = l.conn.Close()
	}
}

// run moves messages until the link or ctx ends.
func (l *link) run(ctx context.Context, cut Cut, take func([][]byte)) ending {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		l.end(endedStop)
		return nil
	})
	group.Go(func() error { return l.write(ctx) })
	group.Go(func() error { return l.read(cut, take) })
	_ = group.Wait() // the reason has been noted
	l.mu.Lock()
	defer l.mu.Unlock()
	l.metrics.lost.Add(float64(len(l.queue)))
	return l.reason
}

// write sends what is queued, all at once: this is how messages become batches.
func (l *link) write(ctx context.Context) error {
	var batch []byte
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.wake:
		}
		l.mu.Lock()
		batch, l.queue = l.queue, batch[:0]
		l.mu.Unlock()
		for rest := batch; len(rest) > 0; {
			n := min(len(rest), readBuffer)
			if err := l.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				l.end(endedByPeer)
				return err
			}
			if _, err := l.conn.Write(rest[:n]); err != nil {
				l.end(endingOf(err, endedSlow))
				return err
			}
			rest = rest[n:]
			l.metrics.sent.Add(float64(n))
		}
		l.metrics.writes.Inc()
	}
}

// read hands over complete messages, as many as have come at once.
func (l *link) read(cut Cut, take func([][]byte)) error {
	buffer := make([]byte, 0, readBuffer)
	var messages [][]byte
	for {
		if err := l.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			l.end(endedByPeer)
			return err
		}
		n, err := l.conn.Read(buffer[len(buffer):cap(buffer)])
		if err != nil {
			l.end(endingOf(err, endedSilent))
			return err
		}
		l.metrics.received.Add(float64(n))
		rest := buffer[:len(buffer)+n]
		messages = messages[:0]
		for {
			message, left, err := cut(rest)
			if err != nil {
				l.end(endedMalformed)
				return err
			}
			if message == nil {
				break
			}
			messages, rest = append(messages, message), left
		}
		if len(messages) > 0 {
			take(messages)
		}
		if len(rest) == cap(buffer) {
			l.end(endedMalformed) // larger than any message
			return errHello
		}
		buffer = buffer[:copy(buffer[:cap(buffer)], rest)]
	}
}

func endingOf(err error, late ending) ending {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return late
	}
	return endedByPeer
}
