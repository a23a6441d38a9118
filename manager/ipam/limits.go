package ipam

const (
	// maxAttempts bounds the rounds of one Commit: each lost round means that
	// another manager took the address in between.
	maxAttempts = 256
	// maxPools bounds the remembered pools (two per network). Over it a random
	// one is forgotten and read again from the store when needed.
	maxPools = 256
	// freeLosses is how often the lowest address is tried in vain before the
	// search jumps further up, maxJump the widest jump as a power of two.
	freeLosses = 2
	maxJump    = 62
	// maxDoubtful bounds the addresses of a pool whose commit may or may not
	// have happened. Over it the whole pool is read again.
	maxDoubtful = 1024
	// loadPage is how many addresses are read at once.
	loadPage = 20_000
)
