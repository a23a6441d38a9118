package endpoint

import "time"

// Bounds of tables. What exceeds one is refused and counted.
const (
	// MaxLocals bounds the identities of one endpoint.
	MaxLocals = 4096
	// maxPeers bounds the peers of all identities together; a new one takes the
	// place of the identity's peer that has been without a session for longest.
	maxPeers = 32768
	// maxAttempts bounds the connection attempts under way of one identity.
	maxAttempts = 256
	// maxWaiters bounds the Connect calls that wait for one attempt.
	maxWaiters = 256
	// maxHeld bounds the packets held for one pair while it is being connected;
	// maxHeldBytes those of the endpoint. Later packets are dropped.
	maxHeld      = 64
	maxHeldBytes = 16 << 20
	// maxRefusals bounds the remembered failures of one identity; they are all
	// forgotten when there are more.
	maxRefusals = 1024
	// maxResponses bounds the handshakes of one peer that this end has answered
	// and that are not complete; the oldest is given up for a new one.
	maxResponses = 4
	// maxRetired bounds the sessions of a pair that are not used any more and
	// still receive; the oldest ends for a new one.
	maxRetired = 3
	// maxBindings bounds the relay bindings of a peer: the one in use, one to move
	// to, and one that a direction has named meanwhile.
	maxBindings = 3
	// maxLeaving bounds the TRS addresses remembered as leaving; they are all
	// forgotten when there are more, and say so again.
	maxLeaving = 64
	// maxCommands bounds the calls waiting for the control goroutine.
	maxCommands = 16384
)

// Queues between the data plane and the control goroutine; what does not fit is
// dropped and counted.
const (
	controlQueue   = 1024
	signalQueue    = 1024
	initQueue      = 256
	handshakeQueue = 512
	relayQueue     = 256
	missQueue      = 1024
	missShare      = missQueue / 8 // of one source address
	seenQueue      = 256
)

// Work on handshakes.
const (
	// freeHandshakes is the number of handshakes of strangers begun in one
	// second without asking for a cookie; maxHandshakes is the number begun in
	// one second at all, about half of one core's public-key work.
	freeHandshakes = 50
	maxHandshakes  = 500
	// maxCookies bounds the cookies accepted by one handshake begun here.
	maxCookies = 8
)

// Traffic to addresses of a peer at which it has not answered, in bytes of UDP
// payload: one long row of handshakes to all candidates, and a few datagrams a
// second afterwards.
const (
	unprovenBurst     = 64 << 10
	unprovenPerSecond = 2 << 10
	// punchInterval is the least time between two rounds of punches that
	// directions cause.
	punchInterval = 250 * time.Millisecond
)

// Times of the handshake.
const (
	// handshakeTimeout is the life of a handshake on either side.
	handshakeTimeout = 6 * time.Second
	// handshakeRetry is the time to the first repetition of a message; it
	// doubles up to handshakeRetryMax.
	handshakeRetry    = 250 * time.Millisecond
	handshakeRetryMax = time.Second
	// pacing is the time between two datagrams of one round over the candidates.
	pacing = 5 * time.Millisecond
	// relayAfter is the time without success on a direct path after which both
	// ends bind the relay.
	relayAfter = time.Second
	// deferFor is how long the end with the higher NodeID insists on its own
	// handshake when both have begun one.
	deferFor = 2 * time.Second
	// confirmFor is how long the answering end repeats its last message.
	confirmFor = 5 * time.Second
	// attemptTimeout is the life of a connection attempt: a direction request
	// and a handshake.
	attemptTimeout = 13 * time.Second
)

// Times of sessions and peers.
const (
	// eraseAfter is the time between a session's removal and the erasure of its
	// keys, in which the data plane's workers finish with it.
	eraseAfter = 2 * time.Second
	// responderRekey is how much later than the initiator the other end begins
	// the renewal of the keys itself.
	responderRekey = 20 * time.Second
	// rekeyRetry is the wait after a failed renewal of the keys.
	rekeyRetry = 5 * time.Second
	// authorised is how long a handshake is accepted from a peer after a
	// direction has named it.
	authorised = 12 * time.Hour
	// idleAfter is the time without user packets after which a session ends.
	idleAfter = 15 * time.Minute
	// refusedFor is how long packets to a target are dropped after a failed
	// attempt; Connect tries again at once.
	refusedFor = time.Second
)

// Times after a change of the policy version. With those of the NMS they keep a
// withdrawn session below 5 s.
const (
	// checkSettle is the time in which a direction may have been made before the change.
	checkSettle = 200 * time.Millisecond
	// checkSpread is the time over which the requests about all peers are spread,
	// once for the sessions begun here and once for those begun by the peer.
	checkSpread = 900 * time.Millisecond
	// checkRetry is the time to the next request after one without an answer; it
	// doubles up to checkRetryMax.
	checkRetry    = time.Second
	checkRetryMax = time.Minute
)

// Times of the relay.
const (
	bindRetry    = 200 * time.Millisecond
	bindRetryMax = 2 * time.Second
	// relayAsk is the least time between two requests for a relay of one peer.
	relayAsk = 2 * time.Second
	// bindTries is the number of unanswered datagrams after which a relay is given up.
	bindTries = 6
	// bindRefresh is the time between two refreshes of a binding.
	bindRefresh = 15 * time.Second
	// silentAfter is the least time after which a TRS that does not answer is taken
	// for gone, if the path through it fails too; two round trips if that is more.
	silentAfter = 400 * time.Millisecond
	// leavingFor is how long a TRS that has said so counts as leaving.
	leavingFor = 10 * time.Second
	// searchYield is how much later than the other end this one asks for another
	// relay, if the other end decides about paths; a quarter if the TRS is silent.
	searchYield = 400 * time.Millisecond
	// searchPatience is how long an answer of the NMS is waited for before the other
	// question is asked, and then for the move before it is asked again; three round
	// trips to the peer if that is more.
	searchPatience = time.Second
	// elseFor is how long after a TRS fell silent every second request for a relay
	// is one for another relay: the NMS misses it when its lease ends.
	elseFor = 10 * time.Second
	// searchRetry is the time to the first repetition of the search; it doubles up
	// to searchRetryMax, or to silentRetryMax while nothing gets through.
	searchRetry    = 500 * time.Millisecond
	searchRetryMax = 8 * time.Second
	silentRetryMax = 2 * time.Second
	// searchHurry is the number of questions that follow a useless answer sooner than that.
	searchHurry = 5
	// offerSettle is the time in which the relay offers of two directions
	// compete: both ends take the one of the greater direction identifier.
	offerSettle = 5 * time.Second
)

// Times of registrations that follow from one another's.
const (
	// hastenPace is the mean time between two registrations that are brought
	// forward together, hastenEvery the least time between two such rounds.
	hastenPace  = 500 * time.Microsecond
	hastenEvery = 10 * time.Second
)

// Times and bounds of the renewal of tickets.
const (
	renewWorkers  = 4
	renewTimeout  = 30 * time.Second
	renewRetry    = 5 * time.Second
	renewRetryMax = 5 * time.Minute
	// renewMin is the least time between two renewals of one identity.
	renewMin = 10 * time.Second
)
