package udp

const (
	// MaxMessage is the size in bytes of a receive buffer that holds whatever the kernel can
	// hand over as one message: a run of datagrams joined by UDP_GRO.
	MaxMessage = 65535

	// MaxBatch is the largest number of messages that one ReadBatch or one system call of
	// WriteBatch handles. A longer slice given to ReadBatch is filled up to here; a longer
	// one given to WriteBatch is sent in several calls.
	MaxBatch = 128

	// maxSegments is the kernel's bound on datagrams in one UDP_SEGMENT send
	// (UDP_MAX_SEGMENTS in include/linux/udp.h).
	maxSegments = 64

	// maxSegmentedBytes bounds one UDP_SEGMENT send: 65535 less an IPv6 header with room for
	// options and the UDP header.
	maxSegmentedBytes = 65000

	// socketBuffer is the size in bytes asked for each socket's send and receive queue. A
	// full receive queue drops the newest datagram (counted by the kernel); a full send
	// queue makes WriteBatch wait, which is the data plane's back-pressure.
	socketBuffer = 7 << 20

	// fairTurn is the number of consecutive batches from one family's socket after which
	// the other family's is looked at first.
	fairTurn = 16

	// maxReadFailures bounds errors in a row within one ReadBatch; the next one is returned.
	maxReadFailures = 1000

	// portAttempts bounds the search for a port that is free in both families.
	portAttempts = 16

	// fakeQueue is the number of datagrams that one direction of a fake pair holds. A full
	// queue makes WriteBatch wait: the fake loses nothing.
	fakeQueue = 4096
)
