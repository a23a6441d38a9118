package client

import (
	"fmt"
	"io"
)

// Bounds of what the manager may answer; more is an error.
const (
	maxObject  = 1 << 20  // bytes
	maxEvent   = 1 << 20  // bytes of one line of a watch
	maxProblem = 64 << 10 // bytes
	maxList    = 64 << 20 // bytes
)

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	return data, nil
}
