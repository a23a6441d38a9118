package ipam

const (
	// maxAttempts bounds the rounds of one Commit: each lost round means that
	// another manager took the address in between.
	maxAttempts = 256
	// maxPools bounds the remembered pools (two per network). Over it a random
	// one is forgotten and read again from the store when needed.
	maxPools = 256
)
