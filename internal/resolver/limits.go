package resolver

import "time"

const (
	// maxQuestions is how many questions are in work at once; more are dropped and counted, the one who
	// asks repeats.
	maxQuestions = 1024
	// maxClientQuestions is how many of them may be of one client (on a node: of the host's stub resolver).
	maxClientQuestions = 256
	// maxConnections is how many TCP connections each listener holds; the accept loop waits above it.
	maxConnections = 64
	// maxUDPMessage is the longest datagram that is read, from either side.
	maxUDPMessage = 4096
	// maxUpstreams is how many upstream resolvers are tried for a question.
	maxUpstreams = 3
	// upstreamTimeout is the wait for one upstream resolver before the next is tried.
	upstreamTimeout = 2 * time.Second
	// lookupTimeout bounds the wait for a peer; stub resolvers give up after 5 s.
	lookupTimeout = 4500 * time.Millisecond
	// idleTimeout closes a TCP connection without a question (RFC 7766 section 6.2.3).
	idleTimeout = 10 * time.Second
	// answerTTL is the life of an address in caches. The address of a peer is stable, but every question
	// makes sure that the path is there, so it stays short.
	answerTTL = 30 * time.Second
	// negativeTTL is the life of "no such name" in caches.
	negativeTTL = 5 * time.Second
)
