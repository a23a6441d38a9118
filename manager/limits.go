package manager

import "time"

const (
	// maxConnections bounds the open connections; further ones wait in the
	// kernel's queue.
	maxConnections = 8192
	// readHeaderTimeout bounds the reading of a request's header.
	readHeaderTimeout = 10 * time.Second
	// idleTimeout bounds how long a connection without request stays open.
	idleTimeout = 2 * time.Minute
	// maxHeaderBytes bounds the header of a request.
	maxHeaderBytes = 16 << 10
	// shutdownTimeout bounds how long Run waits for requests in progress.
	shutdownTimeout = 10 * time.Second
	// bootstrapInterval is how often the creation of the keys is tried while
	// the store is not available.
	bootstrapInterval = time.Second
)
