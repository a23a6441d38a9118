package manager

import "time"

const (
	// maxConnections bounds the open connections; further ones wait in the
	// kernel's queue. A watching client has one of its own: it is more than the
	// watches that the API allows, with room for requests.
	maxConnections = 20_000
	// readHeaderTimeout bounds the reading of a request's header.
	readHeaderTimeout = 10 * time.Second
	// idleTimeout bounds how long a connection without request stays open.
	idleTimeout = 2 * time.Minute
	// maxHeaderBytes bounds the header of a request.
	maxHeaderBytes = 16 << 10
	// drainTimeout bounds the end of the watches, after the delay of a shutdown.
	drainTimeout = 8 * time.Second
	// shutdownTimeout bounds how long Run waits for requests in progress.
	shutdownTimeout = 10 * time.Second
	// bootstrapInterval is how often the creation of the keys is tried while
	// the store is not available.
	bootstrapInterval = time.Second
	// certificateInterval is how often the TLS files are looked at, when there
	// are new connections.
	certificateInterval = 10 * time.Second
)
