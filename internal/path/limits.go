package path

import "time"

const (
	// maxProbes bounds the probes waiting for their answer; the oldest is
	// given up for a new one.
	maxProbes = 64
	// maxKnown bounds the paths whose last answer is remembered; the one
	// answered longest ago is forgotten for a new one.
	maxKnown = 24
	// MaxCandidates bounds the peer's direct candidates; the rest is ignored.
	MaxCandidates = 8
)

const (
	// TickInterval is how often Tick wants to be called while packets flow.
	TickInterval = 200 * time.Millisecond
	// idleTickInterval is how often Tick wants to be called otherwise.
	idleTickInterval = 500 * time.Millisecond
	// silenceBeforeCheck is how long sent packets may stay without any
	// authenticated packet in return before the path is checked.
	silenceBeforeCheck = 250 * time.Millisecond
	// pauseBeforeCheck is how long after the last packet of the peer's users the
	// path is checked, once: the peer may be sending on, into a NAT mapping that
	// is gone, and can learn the new one only from this end.
	pauseBeforeCheck = time.Second
	// checkInterval is the time between the probes of a check.
	checkInterval = 400 * time.Millisecond
	// replyMargin is how much longer than another path's answer that of the
	// current one may take in a check.
	replyMargin = 50 * time.Millisecond
	// checkLosses is the number of unanswered probes that end a path.
	checkLosses = 3
	// idleCheck is the time without a packet in one of the directions after
	// which the path is checked, which also keeps NAT mappings alive.
	idleCheck = 20 * time.Second
	// probeLifetime is how long the answer to a probe is still taken.
	probeLifetime = 5 * time.Second
	// freshness is how long ago an alternative must have answered to be used
	// without asking again.
	freshness = 2 * time.Second
	// seenInterval is the least time between two probes of the same path that
	// the peer's packets caused.
	seenInterval = 150 * time.Millisecond
	// discoveryFast is the time between two attempts to leave the relay during
	// the first discoveryFastRounds attempts; it then grows to discoverySlow.
	discoveryFast       = 3 * time.Second
	discoverySlow       = 30 * time.Second
	discoveryFastRounds = 20
	// moveInterval is the time between the first probes that ask whether a new relay works already; it doubles up to
	// moveIntervalMax. After moveFast of them the other timers decide when the next is sent.
	moveInterval    = 200 * time.Millisecond
	moveIntervalMax = 5 * time.Second
	moveFast        = 6
	// relayRetry is the least time between two requests for a relay.
	relayRetry = 2 * time.Second
	// RestartAfter is the time without any working path after which the
	// session is taken for lost by the peer; restartRetry is repeated then.
	RestartAfter = 3 * time.Second
	restartRetry = 5 * time.Second
	// relayLinger is how long a relay is kept after the last need of it.
	relayLinger = 60 * time.Second
)
