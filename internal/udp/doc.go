// Package udp is the seam between CYPHONIC and the operating system's UDP sockets. It moves
// datagrams in batches: one system call carries many datagrams, and where the kernel offers
// it, one buffer carries a run of datagrams of one flow (UDP_SEGMENT for sending, UDP_GRO for
// receiving; see udp(7)).
//
// The package knows addresses and sizes and nothing of what is inside a datagram. It must
// not parse messages, keep state about peers or start goroutines: the callers of ReadBatch
// and WriteBatch bring their own.
package udp
