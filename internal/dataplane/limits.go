package dataplane

import "time"

// Bounds of the pipeline. None of its queues drops: a full one makes the reading side wait,
// and the queue of the kernel in front of it overflows (counted there).
const (
	// batchPackets is the number of packets read from the virtual interface at once.
	batchPackets = 128

	// batchMessages is the number of UDP messages read at once; with UDP_GRO each may hold
	// up to 64 datagrams and takes a buffer of 64 KB.
	batchMessages = 16

	// batchDatagrams bounds the datagrams of one inbound batch. Those beyond it are dropped
	// and counted as overflow; the kernel joins at most 64, so it takes a strange peer of
	// the socket to get there.
	batchDatagrams = batchMessages * 64

	// spareBatches is how many batches a direction has beyond two for each worker, for
	// Inject and for batches that wait for their turn.
	spareBatches = 2

	// handoverPackets is the size of a batch from which the reading role is passed on before
	// the batch is sealed or opened.
	handoverPackets = 16

	// MaxWorkers bounds Options.Workers.
	MaxWorkers = 64

	// maxAssociations bounds the table of associations; AddAssociation fails beyond it.
	maxAssociations = 1 << 17

	// maxSessions bounds the table of receiver indices (two epochs for each association);
	// AddSession fails beyond it.
	maxSessions = 2 * maxAssociations
)

// Sizes in bytes.
const (
	// packetOffset is where an outbound packet starts in its buffer: room for the relay and
	// data headers, rounded up so that the packet is aligned to a cache line.
	packetOffset = 64

	// minSlotPacket is the smallest packet size that an outbound buffer is made for.
	minSlotPacket = 1500

	// cacheLine rounds the distance between buffers.
	cacheLine = 64
)

// Bounds of the filter, for each association.
const (
	// maxFlows bounds the flow table. The flow that was idle longest makes room.
	maxFlows = 4096

	// maxFragments bounds the table of fragmented packets in progress. The oldest makes room.
	maxFragments = 64

	// maxExtensionHeaders bounds the walk along an IPv6 packet's headers; longer chains are
	// malformed.
	maxExtensionHeaders = 8
)

// Timeouts of idle flows.
const (
	timeoutTCPOpening     = 30 * time.Second
	timeoutTCPEstablished = 2*time.Hour + 4*time.Minute // RFC 5382 REQ-5
	timeoutTCPClosing     = 10 * time.Second
	timeoutUDP            = 180 * time.Second // RFC 4787 REQ-5: not below 2 minutes
	timeoutICMP           = 60 * time.Second  // RFC 5508 REQ-2
	timeoutOther          = 600 * time.Second
	timeoutFragment       = 30 * time.Second // RFC 8200 section 4.5 allows 60 s for reassembly
)

// pathSeenInterval is the least time between two PathSeen calls for one association.
const pathSeenInterval = 50 * time.Millisecond
