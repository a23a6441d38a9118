package lab

import "time"

const (
	// maxNameLength bounds the name of a run, so that namespace names stay readable in `ip netns`.
	maxNameLength = 32
	// maxHosts bounds a topology; it is far above what two cores can run.
	maxHosts = 64
	// terminateGrace is how long a process may take to end after SIGTERM before it is killed.
	terminateGrace = 3 * time.Second
	// outputDrain is how long Run waits for output that grandchildren still hold open after the command has ended.
	outputDrain = time.Second
	// captureStart bounds the wait for tcpdump to say that it listens.
	captureStart = 5 * time.Second
	// captureQuiet is how long a capture file must not have grown before the capture is taken for complete.
	captureQuiet = 100 * time.Millisecond
	// ringFileMegabytes and ringFiles bound the packets kept per WAN link as evidence.
	ringFileMegabytes = 8
	ringFiles         = 2
	// ringSnapLength is the number of bytes kept of each packet in the evidence ring: all headers and some payload.
	ringSnapLength = 192
	// fullSnapLength keeps whole packets, even 64 KB super-packets.
	fullSnapLength = 262144
	// commandTimeout bounds each command that builds or removes a part of the lab.
	commandTimeout = 20 * time.Second
)
