package client

import (
	"fmt"
	"io"
	"time"
)

// Bounds of what the manager may answer; more is an error.
const (
	maxObject   = 4 << 20  // bytes; the fields' owners and both states of an audit record come on top of a body of 1 MiB
	maxEvent    = 4 << 20  // bytes of one line of a watch
	maxProblem  = 64 << 10 // bytes
	maxList     = 64 << 20 // bytes of one page
	maxPlan     = 256 << 20
	maxWarnings = 4 // of one answer; more are passed over
)

// Bounds of asking again.
const (
	maxServers    = 16
	maxRestarts   = 3 // of a list whose revision is no longer kept
	retries       = 2 // of a request that may be repeated, besides one for each further server
	firstBackoff  = 100 * time.Millisecond
	maxBackoff    = 10 * time.Second
	maxRetryAfter = 10 * time.Second // a manager that asks for more is not waited for
	watchIdle     = 35 * time.Second // a watch has a bookmark every ten seconds
	dialTimeout   = 5 * time.Second
)

// How long the head of an answer may take.
const (
	patience        = 30 * time.Second
	planPatience    = 5 * time.Minute // plans and backups
	restorePatience = 2 * time.Hour
)

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, &UnreachableError{Err: err, Hint: "the connection broke before the answer was complete"}
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	return data, nil
}
