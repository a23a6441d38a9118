package ctl

import (
	"context"
	"errors"
	"time"
)

var errTimeout = errors.New("it took too long")

// poll asks at once and then again and again until the answer is yes; errTimeout if that takes longer than timeout.
func poll(ctx context.Context, timeout time.Duration, ask func() (bool, error)) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	again := time.NewTicker(pollEvery)
	defer again.Stop()
	for {
		done, err := ask()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return errTimeout
		case <-again.C:
		}
	}
}
