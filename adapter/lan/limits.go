package lan

import "time"

const (
	// maxUnlisted is how many unlisted devices the guard remembers for the operator; more are still
	// dropped and counted.
	maxUnlisted = 1024
	// unlistedTimeout is how long it remembers one after its last frame.
	unlistedTimeout = 10 * time.Minute
	// maxHeld is how many DHCP messages wait for a login, one per general node; a newer one of the same
	// device replaces the older, more are dropped (the client repeats).
	maxHeld = 4096
	// heldTimeout is how long a DHCP message may wait for its answer: clients repeat after 4 s and use
	// a new transaction after about a minute.
	heldTimeout = 20 * time.Second
	// nftTimeout bounds one call of nft.
	nftTimeout = 10 * time.Second
	// portScan is the interval of looking at the bridge's ports without a message from the kernel.
	portScan = 5 * time.Second
	// maxFrame is the longest DHCP packet that is read, in bytes.
	maxFrame = 2048
)
