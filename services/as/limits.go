package as

import "time"

// Bounds of the AS.
const (
	// maxConnections bounds the open connections; each takes about 20 KiB. One
	// source address (devices behind one NAT share it) or IPv6 /64 may have as
	// many as are still free, which is half of all if it is alone, and
	// connectionsPerAddress in any case. Further ones are closed at once.
	maxConnections        = 16_384
	connectionsPerAddress = 256
	// maxHandshakes bounds the TLS handshakes that run at once, handshakeSlot the
	// time for which one counts: its work takes a millisecond, the rest is
	// waiting for the device. A handshake counts only when the device has begun it.
	maxHandshakes = 256
	handshakeSlot = 250 * time.Millisecond

	// handshakeQueue bounds the wait of a handshake for its turn, handshakeTimeout
	// the wait for the device to begin and then the TLS handshake, idleTimeout the wait for the
	// next request, loginTimeout one login with its answer, and
	// connectionTimeout the life of a connection.
	handshakeQueue    = 20 * time.Second
	handshakeTimeout  = 20 * time.Second
	idleTimeout       = 60 * time.Second
	loginTimeout      = 12 * time.Second
	connectionTimeout = 30 * time.Minute

	// From crowded connections on a device is waited for only crowdedTimeout: who opens many connections from many
	// addresses and says nothing has to do so all the time to keep the others out.
	crowded        = maxConnections / 4 * 3
	crowdedTimeout = 5 * time.Second

	// lastCall is how long a draining AS takes the connections that have reached
	// it, drainPatience how long it waits for a device that has connected and
	// has said nothing yet.
	lastCall      = 50 * time.Millisecond
	drainPatience = 2 * time.Second

	// maxLogins and maxRefusals bound the logins and the refused logins of one
	// connection; it is closed when one of them is reached.
	maxLogins   = 10_000
	maxRefusals = 20

	// grantLifetime is the life of a certificate, a ticket and an access token
	// from the moment of the login. A certificate begins clockTolerance before.
	grantLifetime  = 24 * time.Hour
	clockTolerance = 5 * time.Minute

	// maxPasswordChecks bounds the password hashes that are computed at once
	// (each takes about 19 MiB and 50 ms); passwordQueue is how long a login
	// waits for its turn.
	maxPasswordChecks = 2
	passwordQueue     = 5 * time.Second

	// freeFailures passwords may be wrong in a row before the subject has to
	// wait: backoffMin after the next failure, doubling up to backoffMax.
	// Failures are forgotten failureMemory after the last one.
	freeFailures  = 3
	backoffMin    = time.Second
	backoffMax    = 5 * time.Minute
	failureMemory = 30 * time.Minute
	// maxFailureRecords bounds the subjects whose failures are remembered. When
	// the table is full, passwords of further subjects are not checked.
	maxFailureRecords = 1 << 16

	// tokensPerSecond and tokenBurst bound the enrolment attempts, each of
	// which reads etcd.
	tokensPerSecond = 100
	tokenBurst      = 500
)
