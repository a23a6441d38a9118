package rest

import "time"

const (
	// maxBodyBytes bounds a request body; over it the answer is 413.
	maxBodyBytes = 1 << 20
	// requestTimeout bounds the handling of a request that is not a watch,
	// with reading its body and writing its answer.
	requestTimeout = 30 * time.Second
	// maxWatches bounds the open watches; over it the answer is 503.
	maxWatches = 4096
	// maxWatchesPerAdapter bounds the open watches of one adapter; over it the
	// answer is 503.
	maxWatchesPerAdapter = 4
	// heartbeatInterval is how often a watch sends a BOOKMARK and checks the
	// right to watch again.
	heartbeatInterval = 10 * time.Second
	// watchWriteTimeout bounds the writing of one batch of events: a client
	// that reads more slowly is disconnected and resumes when it can.
	watchWriteTimeout = 10 * time.Second
	// maxRounds bounds how often a write is planned again because something
	// it depends on changed in between; over it the answer is 409.
	maxRounds = 16
	// maxReferrers bounds the names in a message about referring resources.
	maxReferrers = 5
	// keyringAge is how long the keys of access tokens are used before they
	// are read again. New keys become active later than that.
	keyringAge = 5 * time.Second
	// maxErrorDetails bounds the faults in one answer.
	maxErrorDetails = 32
)
