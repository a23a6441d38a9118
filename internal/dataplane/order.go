package dataplane

import "sync"

// lane gives the batches of one direction to the workers and takes them back in order. It
// owns the pool of batches and the reading role.
type lane[B any] struct {
	// Constant.
	free    chan struct{} // a token for each batch in the pool; who finds none waits
	role    chan struct{} // holds one token; who takes it reads
	closed  chan struct{} // closed when the plane ends
	release func(*B)      // called with one batch at a time, in the order of tickets

	mu        sync.Mutex
	pool      []*B   // the batch used last is taken first: its memory is in the cache
	next      uint64 // ticket of the next batch to be staged
	head      uint64 // ticket of the next batch to be released
	waiting   []*B   // ready before their turn, by ticket modulo length
	releasing bool   // a worker is in release
}

func newLane[B any](batches int, newBatch func() *B, release func(*B)) *lane[B] {
	l := &lane[B]{
		free: make(chan struct{}, batches), role: make(chan struct{}, 1), closed: make(chan struct{}),
		release: release, waiting: make([]*B, batches),
	}
	for range batches {
		l.put(newBatch())
	}
	l.role <- struct{}{}
	return l
}

// take returns a batch of the pool, or nil when the plane has ended.
func (l *lane[B]) take() *B {
	select {
	case <-l.free:
	default:
		select {
		case <-l.free:
		case <-l.closed:
			return nil
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.pool) - 1
	b := l.pool[last]
	l.pool = l.pool[:last]
	return b
}

// put returns a batch to the pool; one that has a ticket goes through done instead.
func (l *lane[B]) put(b *B) {
	l.mu.Lock()
	l.pool = append(l.pool, b)
	l.mu.Unlock()
	l.free <- struct{}{}
}

// ticket fixes a batch's place in the order of release. Every ticket must be redeemed with
// done, else later batches wait for ever.
func (l *lane[B]) ticket() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.next
	l.next++
	return t
}

// done hands in a finished batch. It releases the batch and those that waited for it, unless
// earlier batches are missing or another worker is releasing, which will see to it. There
// are as many places as batches, so a place is free.
func (l *lane[B]) done(ticket uint64, b *B) {
	n := uint64(len(l.waiting))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting[ticket%n] = b
	if l.releasing {
		return
	}
	l.releasing = true
	for {
		ready := l.waiting[l.head%n]
		if ready == nil {
			break
		}
		l.waiting[l.head%n] = nil
		l.head++
		l.mu.Unlock()
		l.release(ready)
		l.put(ready)
		l.mu.Lock()
	}
	l.releasing = false
}

// inWork is the number of batches outside the pool.
func (l *lane[B]) inWork() float64 { return float64(cap(l.free) - len(l.free)) }
