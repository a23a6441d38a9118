package trs

import "time"

// Bounds of the TRS.
const (
	// maxSessions bounds the relay sessions, maxSessionsPerNetwork those of one
	// network. Beyond them a binding is refused with RelayErrorBusy or
	// RelayErrorQuota.
	maxSessions           = 1 << 16
	maxSessionsPerNetwork = 1 << 15

	// idleTimeout is the silence after which a binding ends. Data counts as
	// well as a repeated RelayBind.
	idleTimeout = 120 * time.Second

	// cookieWindow is the granularity of cookies: one is valid for one to two
	// windows.
	cookieWindow = 10 * time.Second

	// nonceMemory is the number of moves of one side that are remembered, so
	// that a captured RelayBind cannot move a binding back. In two windows of
	// cookies there are fewer moves than that (movesPerSecond, moveBurst).
	nonceMemory = 64
	// answeredMemory is the number of latest nonces of a side in which repetitions are recognised: two minutes of refreshes.
	answeredMemory = 8
	// movesPerSecond and moveBurst bound how often one side may move.
	movesPerSecond = 1
	moveBurst      = 16

	// defaultBytesPerSecond is the quota of a token that names none, in each
	// direction; quotaBurst is the time for which a quota may be used ahead.
	defaultBytesPerSecond = 125_000_000
	quotaBurst            = 250 * time.Millisecond
	// minBurst lets small quotas pass a batch of full datagrams, in bytes.
	minBurst = 256 * 1024

	// DefaultNetworkBytesPerSecond is the quota of one network over all its
	// sessions, both directions together.
	DefaultNetworkBytesPerSecond = 500_000_000

	// leaveSettle is the time from the beginning of leaving to the first notice, in which the NMS hears that others are
	// to be chosen.
	leaveSettle = 300 * time.Millisecond
	// noticeInterval is how often notices are sent, noticeBatch the number of sessions that are told each time: a full
	// table is told in 3.3 s, so that not all devices ask the NMS at once.
	noticeInterval = 50 * time.Millisecond
	noticeBatch    = 1000
	// noticeRepeat is the least time between two notices of a session. A session without traffic is told noticesLeast
	// times, one with traffic until it has none.
	noticeRepeat = 500 * time.Millisecond
	noticesLeast = 4
	// residualAge is the time without forwarded datagrams after which a session counts as left.
	residualAge = 2 * time.Second

	// expireInterval is how often the server looks for what has ended.
	expireInterval = time.Second

	// readBatch is the number of messages read at a time. Each has a buffer of
	// udp.MaxMessage bytes, so that the kernel may hand over runs of datagrams.
	readBatch = 64
)
