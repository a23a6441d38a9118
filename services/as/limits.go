package as

import "time"

// Bounds of the AS.
const (
	// maxConnections bounds the open connections, maxConnectionsPerAddress
	// those of one source address (devices behind one NAT share it) or IPv6 /64. Further
	// ones are closed at once.
	maxConnections           = 2048
	maxConnectionsPerAddress = 256
	// maxHandshakes bounds the TLS handshakes that run at once, handshakeSlot the
	// time for which one counts: its work takes some milliseconds, the rest is
	// waiting for the device.
	maxHandshakes = 64
	handshakeSlot = 250 * time.Millisecond

	// handshakeTimeout bounds the TLS handshake, idleTimeout the wait for the
	// next request, loginTimeout one login with its answer, and
	// connectionTimeout the life of a connection.
	handshakeTimeout  = 10 * time.Second
	idleTimeout       = 60 * time.Second
	loginTimeout      = 12 * time.Second
	connectionTimeout = 30 * time.Minute

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
