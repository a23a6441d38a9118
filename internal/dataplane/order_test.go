package dataplane

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// orderPackets is the number of packets of the order test in all: both directions, all
// numbers of workers.
const orderPackets = 1_000_000

// TestPacketsKeepTheirOrderAtAnyNumberOfWorkers sends numbered packets in both directions at
// once while the workers are delayed at random, and expects every packet, once, in order.
func TestPacketsKeepTheirOrderAtAnyNumberOfWorkers(t *testing.T) {
	workers := []int{1, 2, 4, 8}
	packets := orderPackets / len(workers) / 2
	if testing.Short() || raceEnabled {
		packets /= 20
	}
	for _, n := range workers {
		t.Run(fmt.Sprintf("%d workers", n), func(t *testing.T) {
			a, b := pairOverFake(t, n)
			var pauses atomic.Int64
			pause := func() {
				pauses.Add(1)
				switch r := rand.IntN(100); {
				case r == 0:
					time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
				case r < 30:
					runtime.Gosched()
				}
			}
			a.plane.pause, b.plane.pause = pause, pause
			a.run(t)
			b.run(t)
			var done sync.WaitGroup
			for _, from := range []*end{a, b} {
				to := a
				if from == a {
					to = b
				}
				done.Go(func() { sendNumbered(t, from, packets) })
				done.Go(func() { expectNumbered(t, to, packets) })
			}
			done.Wait()
			if pauses.Load() == 0 {
				t.Fatal("the workers were not delayed")
			}
		})
	}
}

func sendNumbered(t *testing.T, e *end, n int) {
	addresses := e.association.Addresses()
	four := udpPacket(addresses.LocalIPv4, addresses.PeerIPv4, 1, 2, make([]byte, 8))
	six := udpPacket(addresses.LocalIPv6, addresses.PeerIPv6, 1, 2, make([]byte, 8))
	for i := range n {
		p := four
		if i%3 == 0 {
			p = six
		}
		binary.BigEndian.PutUint64(p[len(p)-8:], uint64(i))
		if err := e.tun.Send(p); err != nil {
			t.Error(err)
			return
		}
	}
}

func expectNumbered(t *testing.T, e *end, n int) {
	for i := range n {
		p, err := e.tun.Receive()
		if err != nil {
			t.Error(err)
			return
		}
		if got := binary.BigEndian.Uint64(p[len(p)-8:]); got != uint64(i) {
			t.Errorf("packet %d came in the place of packet %d", got, i)
			_ = e.tun.Close()
			return
		}
	}
}

// TestLaneReleasesInTheOrderOfTickets finishes batches in random order.
func TestLaneReleasesInTheOrderOfTickets(t *testing.T) {
	type numbered struct{ number uint64 }
	const batches, rounds = 10, 2000
	var released []uint64
	l := newLane(batches, func() *numbered { return &numbered{} }, func(b *numbered) { released = append(released, b.number) })
	for range rounds {
		var taken []*numbered
		for range batches {
			b := l.take()
			b.number = l.ticket()
			taken = append(taken, b)
		}
		rand.Shuffle(batches, func(i, j int) { taken[i], taken[j] = taken[j], taken[i] })
		for _, b := range taken {
			l.done(b.number, b)
		}
	}
	if len(released) != batches*rounds {
		t.Fatalf("%d batches released, want %d", len(released), batches*rounds)
	}
	for i, n := range released {
		if n != uint64(i) {
			t.Fatalf("batch %d was released in place %d", n, i)
		}
	}
	if l.inWork() != 0 {
		t.Fatalf("%v batches are missing from the pool", l.inWork())
	}
}
