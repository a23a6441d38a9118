package tun

const (
	// DefaultMTU is the overlay's MTU in bytes: with tunnel header, tag and relay header
	// (40 bytes), UDP (8) and IPv6 (40) it stays below 1500.
	DefaultMTU = 1400

	// MinMTU is the smallest MTU that IPv6 allows (RFC 8200 section 5).
	MinMTU = 1280

	// MaxMTU is the largest MTU that Open accepts.
	MaxMTU = 9000

	// Headroom is the number of bytes in front of each packet that Write may overwrite; its
	// offset must not be smaller.
	Headroom = 16

	// maxPacket is the largest packet, and super-packet, that the kernel hands over.
	maxPacket = 65535

	// fakeQueue is the number of packets that each direction of a Fake holds. A full queue
	// makes the writer wait: the fake loses nothing.
	fakeQueue = 4096
)
