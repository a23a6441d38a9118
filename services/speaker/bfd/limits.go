package bfd

import "time"

const (
	// maxPeers bounds the sessions; Manager.Set refuses more.
	maxPeers = 128
	// maxEvents bounds what waits for the receiver of Manager.Events; the oldest is forgotten, Manager.State knows more.
	maxEvents = 1024
	// maxPayload is as much of a datagram as is read; a packet is shorter.
	maxPayload = 256
	// slowInterval is the least transmit interval while a session is not up (RFC 5880, section 6.8.3).
	slowInterval = time.Second
	// defaultInterval and defaultMultiplier are taken where a peer has none.
	defaultInterval   = 300 * time.Millisecond
	defaultMultiplier = 3
	// minInterval and maxInterval bound the intervals of a peer: shorter ones are not for a program that may have to wait
	// for the processor.
	minInterval = 10 * time.Millisecond
	maxInterval = time.Minute
	// maxDetection bounds the detection time, whatever the neighbour announces.
	maxDetection = 5 * time.Minute
	// farewells are how many packets tell a neighbour that a session was switched off; one may get lost.
	farewells = 2
	// firstPort and lastPort are the source ports of RFC 5881, section 4.
	firstPort = 49152
	lastPort  = 65535
	// portTries bounds the search for a free one.
	portTries = 64
	// reopenPause is the least time between two attempts to open the socket of a session.
	reopenPause = time.Second
)
