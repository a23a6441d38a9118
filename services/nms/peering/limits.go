package peering

import "time"

const (
	// maxPeers bounds the replicas that one links with; those beyond it, in the
	// order in which they are named, are left out.
	maxPeers = 256
	// maxHandshakes bounds the incoming connections from addresses of peers that have
	// not yet shown who they are, maxStrangers those from other addresses; further
	// ones are closed at once.
	maxHandshakes = 64
	maxStrangers  = 16
	// maxQueue bounds the bytes that wait to be sent over one link. A link on
	// which more waits is closed: its other end does not keep up.
	maxQueue = 32 << 20
	// readBuffer is how much is read from a link at once. It must be larger than
	// any message.
	readBuffer = 64 << 10
	// maxHello bounds the first message in each direction, in bytes.
	maxHello = 1024

	// dialTimeout bounds connecting and handshakeTimeout TLS and hello.
	dialTimeout      = 2 * time.Second
	handshakeTimeout = 3 * time.Second
	// silence is after how long without a byte a link is closed, and writeTimeout
	// after how long without progress in sending.
	silence      = 3 * time.Second
	writeTimeout = 2 * time.Second
	// redialMin and redialMax bound the pause between two attempts; it doubles.
	redialMin = 50 * time.Millisecond
	redialMax = time.Second
	// linger is how long the link with a replica stays that is no member any
	// more: so long it can give away what it has, and others can tell it.
	linger = 30 * time.Second
	// checkInterval is how often links are held against the peers.
	checkInterval = time.Second
)
