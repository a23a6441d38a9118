package netfilter

import "time"

const (
	// maxServices, maxVIPs and maxBackends bound a state; State.Validate refuses more.
	maxServices = 64
	maxVIPs     = 8
	maxBackends = 64
	// maxHosts bounds the other hosts that are asked about a TCP packet, IPv4 and IPv6 together.
	maxHosts = 64
	// maxDirect bounds the sockets that are kept out of connection tracking.
	maxDirect = 64
	// commandTimeout bounds one nft transaction.
	commandTimeout = 10 * time.Second
)

const (
	// slotCount is how many parts the flows of a service fall into. It divides by every number of backends up to eight.
	slotCount = 840
	// slotVersions are the names that maps of slots take in turn.
	slotVersions = 1000
	// maxEnds bounds the backends of all services together, and maxElements a set in the kernel: it has room for what
	// comes and what goes.
	maxEnds     = 512
	maxElements = 2048
	// connectionsPerSecond and connectionsBurst bound new TCP connections to all VIPs of a family together, once for known
	// sources and once for others, so that a flood of SYNs cannot fill the host's connection table: half-open connections
	// are forgotten after halfOpenSeconds.
	connectionsPerSecond = 5_000
	connectionsBurst     = 15_000
	halfOpenSeconds      = 10
	// sourceConnectionsPerSecond and sourceConnectionsBurst bound those of one source: many devices can be behind one
	// address (RFC 6888).
	sourceConnectionsPerSecond = 1_000
	sourceConnectionsBurst     = 10_000
	// maxSources bounds each set of sources that the kernel fills. A source that is silent for sourceIdle has its burst
	// back anyway; one that has completed a handshake is known for knownFor.
	maxSources = 16_384
	sourceIdle = 15 * time.Second
	knownFor   = time.Hour
	// establishedSeconds is how long a silent connection is remembered (RFC 5382, section 5, asks for at least 2 h 4 min).
	establishedSeconds = 7_500
	// rescuesPerSecond and rescuesBurst bound what is sent to show TCP packets to the other hosts, to all of them together,
	// and sourceRescuesPerSecond and sourceRescuesBurst the part of one source. Resets count like one host.
	rescuesPerSecond       = 10_000
	rescuesBurst           = 10_000
	sourceRescuesPerSecond = 2_000
	sourceRescuesBurst     = 4_000
	// bfdPort is that of BFD over a single hop (RFC 5881, section 4).
	bfdPort = 3784
	// fastFronts and fastBackends bound the addresses of UDP services, and the replicas, that have a rule of their own before
	// the maps. A rule that does not fit costs a few nanoseconds, a lookup in a map 50 to 100.
	fastFronts   = 4
	fastBackends = 8
	// maxListing bounds what is read of nft's output.
	maxListing = 64 << 20
)
