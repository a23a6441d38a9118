package tun

import (
	"os"
	"sync"
)

// Fake is an in-memory Device for tests: Send plays the operating system that routes packets
// into the interface, Receive the one that takes packets out of it.
type Fake struct {
	name    string
	mtu     int
	toRead  *fakeQueueOfPackets
	written *fakeQueueOfPackets
}

// NewFake returns a Fake. It loses nothing: a side that gets too far ahead waits.
func NewFake(name string, mtu int) *Fake {
	return &Fake{name: name, mtu: mtu, toRead: newFakeQueue(), written: newFakeQueue()}
}

// Send makes Read return a copy of packet. It is os.ErrClosed after Close.
func (f *Fake) Send(packet []byte) error { return f.toRead.put(packet) }

// Receive waits for the next packet that Write took. It is os.ErrClosed after Close.
func (f *Fake) Receive() ([]byte, error) {
	return f.written.take()
}

// Waiting is the number of packets that Write took and Receive has not returned yet.
func (f *Fake) Waiting() int { return f.written.length() }

// Read implements Device.
func (f *Fake) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	return f.toRead.read(bufs, sizes, offset)
}

// Write implements Device.
func (f *Fake) Write(bufs [][]byte, offset int) (int, error) {
	for i, b := range bufs {
		if err := f.written.put(b[offset:]); err != nil {
			return i, err
		}
		clear(b[offset-Headroom : offset]) // as a backend may
	}
	return len(bufs), nil
}

// MTU implements Device.
func (f *Fake) MTU() int { return f.mtu }

// Name implements Device.
func (f *Fake) Name() string { return f.name }

// BatchSize implements Device.
func (f *Fake) BatchSize() int { return 128 }

// Close implements Device.
func (f *Fake) Close() error {
	f.toRead.close()
	f.written.close()
	return nil
}

// fakeQueueOfPackets is a bounded ring whose memory is reused.
type fakeQueueOfPackets struct {
	mu      sync.Mutex
	changed sync.Cond
	closed  bool
	ring    [fakeQueue][]byte
	head    int // index of the oldest
	count   int
}

func newFakeQueue() *fakeQueueOfPackets {
	q := &fakeQueueOfPackets{}
	q.changed.L = &q.mu
	return q
}

func (q *fakeQueueOfPackets) put(packet []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.count == fakeQueue && !q.closed {
		q.changed.Wait()
	}
	if q.closed {
		return os.ErrClosed
	}
	at := (q.head + q.count) % fakeQueue
	q.ring[at] = append(q.ring[at][:0], packet...)
	q.count++
	q.changed.Broadcast()
	return nil
}

// take returns the oldest packet, which then belongs to the caller.
func (q *fakeQueueOfPackets) take() ([]byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.waitForOne(); err != nil {
		return nil, err
	}
	p := q.ring[q.head]
	q.ring[q.head] = nil
	q.drop()
	return p, nil
}

func (q *fakeQueueOfPackets) read(bufs [][]byte, sizes []int, offset int) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if err := q.waitForOne(); err != nil {
			return 0, err
		}
		n := 0
		for ; q.count > 0 && n < len(bufs); q.drop() {
			p := q.ring[q.head]
			if len(p) <= len(bufs[n])-offset { // one that does not fit is dropped
				sizes[n] = copy(bufs[n][offset:], p)
				n++
			}
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (q *fakeQueueOfPackets) waitForOne() error {
	for q.count == 0 && !q.closed {
		q.changed.Wait()
	}
	if q.closed {
		return os.ErrClosed
	}
	return nil
}

func (q *fakeQueueOfPackets) drop() {
	q.head = (q.head + 1) % fakeQueue
	q.count--
	q.changed.Broadcast()
}

func (q *fakeQueueOfPackets) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

func (q *fakeQueueOfPackets) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.changed.Broadcast()
}
