package load

import "time"

const (
	// MaxDevices bounds the devices of one generator; each has a socket and a goroutine.
	MaxDevices = 8192
	// busyPause is after how long it is looked again whether a device that is to move takes part in requests still.
	busyPause = 20 * time.Millisecond
	// maxInflight bounds the requests under way; one that finds no place is counted as not sent.
	maxInflight = 16384
	// maxFaults bounds the requests that a report describes one by one; the counts go on.
	maxFaults = 20000
	// maxSamples bounds the latencies kept for each kind of request; later ones replace random earlier ones.
	maxSamples = 1 << 17
	// maxDatagram is the size of the receive buffer of a socket, in bytes.
	maxDatagram = 2048
	// maxConnections bounds the connections that a burst holds open.
	maxConnections = 20000
)

const (
	// setupDelay is the time between two logins of a device that the cloud does not know yet.
	setupDelay = 200 * time.Millisecond
	// registrationTimeout is when a registration without answer counts as failed: after its fourth datagram.
	registrationTimeout = 7 * time.Second
	// tickInterval is how often the timers of all devices are looked at.
	tickInterval = 20 * time.Millisecond
	// setupTimeout bounds login and registration of one device when the load is set up.
	setupTimeout = 40 * time.Second
	// lateStart is from when on a request counts as started late, which is the generator's own fault.
	lateStart = 50 * time.Millisecond
	// stallLimit is for how long the timers of the devices may stand still before that counts as a stall of the generator.
	stallLimit = 100 * time.Millisecond
	// firstTry is how long an answer to a first datagram may take before a client repeats it, at most: that of a
	// registration with its jitter.
	firstTry = 600 * time.Millisecond
	// maxStalls bounds the stalls that are remembered; of more, the oldest are forgotten.
	maxStalls = 4096
)

// Logins come from these ports of a device's address.
const (
	firstPort = 16384
	ports     = 16384
)
