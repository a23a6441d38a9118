package telemetry

import (
	"errors"
	"io"
	"testing"
	"time"
)

// One adapter sends as many bodies as it can, byte by byte: the others must not
// wait for it.
func TestSlowBodiesDoNotKeepOthersWaiting(t *testing.T) {
	s := newSite(t, "slow", "a")
	const bodies = 4 * maxDecoding
	ends, answers := make([]*io.PipeWriter, bodies), make(chan error, bodies)
	for i := range bodies {
		var r *io.PipeReader
		r, ends[i] = io.Pipe()
		go func() {
			answers <- s.Push(t.Context(), Push{Adapter: "slow", Boot: "boot-slow", Sequence: uint64(i) + 1}, r)
		}()
	}
	for range bodies - 1 { // but one are refused at once
		select {
		case err := <-answers:
			if !errors.Is(err, ErrTooOften) {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("more than one push of an adapter is waited for")
		}
	}
	done := make(chan error, 1)
	go func() {
		done <- s.Push(t.Context(), Push{Adapter: "a", Boot: "boot-a", Sequence: 1}, body(t, counter("cyphonic_x_total", 1)))
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the other adapter waits")
	}
	for _, end := range ends {
		_ = end.Close()
	}
	if err := <-answers; !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	if err := s.Push(t.Context(), Push{Adapter: "slow", Boot: "boot-slow", Sequence: 1}, body(t, counter("cyphonic_x_total", 1))); err != nil {
		t.Errorf("after its bodies have ended: %v", err)
	}
}
