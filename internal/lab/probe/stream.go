package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// recordSize is the size in bytes of one record of a stream: 8 bytes of number, 8 bytes of time, filling.
const recordSize = 1024

// StreamReport is what a stream has seen so far.
type StreamReport struct {
	// Records came back whole and in order.
	Records uint64
	// RTT of the latest record.
	RTT time.Duration
	// LongestGap is the longest time in which nothing came back.
	LongestGap time.Duration
}

// Stream sends numbered records over one connection to an echo (ServeEcho) and checks every byte that comes back. It
// never reconnects: a reset, an end or a wrong byte is its error. It returns the last report and nil when ctx ends.
// report, if not nil, is called after every record.
func Stream(ctx context.Context, conn net.Conn, interval time.Duration, report func(StreamReport)) (StreamReport, error) {
	var sending sync.WaitGroup
	defer sending.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	started := time.Now()
	sending.Go(func() {
		if err := sendRecords(ctx, conn, started, interval); err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("stream: send: %w", err))
		}
	})
	var state StreamReport
	last := started
	record, want := make([]byte, recordSize), make([]byte, recordSize)
	for {
		if _, err := io.ReadFull(conn, record); err != nil {
			if cause := context.Cause(ctx); cause != nil && cause != context.Canceled && cause != context.DeadlineExceeded {
				return state, cause
			}
			if ctx.Err() != nil {
				return state, nil
			}
			return state, fmt.Errorf("stream: receive record %d: %w", state.Records, err)
		}
		now := time.Now()
		sent := binary.BigEndian.Uint64(record[8:])
		fillRecord(want, state.Records, sent)
		if !bytes.Equal(record, want) {
			return state, fmt.Errorf("stream: record %d came back changed", state.Records)
		}
		state.Records++
		state.RTT = now.Sub(started) - time.Duration(sent)
		state.LongestGap = max(state.LongestGap, now.Sub(last))
		last = now
		if report != nil {
			report(state)
		}
	}
}

func sendRecords(ctx context.Context, conn net.Conn, started time.Time, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	record := make([]byte, recordSize)
	for number := uint64(0); ; number++ {
		fillRecord(record, number, uint64(time.Since(started)))
		if _, err := conn.Write(record); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func fillRecord(record []byte, number, sent uint64) {
	binary.BigEndian.PutUint64(record, number)
	binary.BigEndian.PutUint64(record[8:], sent)
	for i := 16; i < len(record); i++ {
		record[i] = byte(number + uint64(i))
	}
}
