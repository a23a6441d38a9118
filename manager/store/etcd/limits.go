package etcd

import "time"

const (
	// operationTimeout bounds one call of the store; after it the store is
	// reported as unavailable.
	operationTimeout = 5 * time.Second
	// firstPage is how many keys List reads with its first request, largestPage
	// with any; pageBytes is how large an answer should about be. Values are at
	// most 1 MiB, which bounds the first answer too.
	firstPage   = 1000
	largestPage = 20_000
	pageBytes   = 8 << 20
	// scopePages is how many pages a range may hold before a list asks for
	// narrower ones; scopeStart how many characters shorter than the last key
	// is what the next keys are first supposed to begin with.
	scopePages = 8
	scopeStart = 4
	// minTTL is the shortest life of a key or of a leader's office: etcd has
	// whole seconds.
	minTTL = time.Second
	// vacancyRetry is how long a candidate relies on its watch before it looks
	// again whether the office is vacant.
	vacancyRetry = 5 * time.Second
	// leaseParts divides a time to live: keys whose ends fall into the same
	// part share a lease.
	leaseParts = 10
	// progressRetry is how often the versions of the members are asked again
	// while some did not answer.
	progressRetry = time.Minute
	// startTimeout bounds the start of the embedded server: replaying the log
	// of a large database takes seconds.
	startTimeout = 60 * time.Second
	// dialTimeout bounds the first contact with an external cluster.
	dialTimeout = 5 * time.Second
	// reconnectMin and reconnectMax bound the pause before a lost connection to an
	// external cluster is tried again: less than the life of any lease, so that
	// those who come back after an outage renew theirs in time.
	// Each attempt lasts connectTimeout, so that TCP's first packet goes out once a second at least: a host that was cut
	// off is back at etcd that soon.
	reconnectMin   = 100 * time.Millisecond
	reconnectMax   = 500 * time.Millisecond
	connectTimeout = 1500 * time.Millisecond
	// keepAliveInterval and keepAliveTimeout find a dead connection to an
	// external cluster.
	keepAliveInterval = 10 * time.Second
	keepAliveTimeout  = 3 * time.Second
	// tickMs and electionMs are the clock of the embedded server and how long it
	// waits, at each start, until it elects itself: there is nobody else to wait for.
	tickMs     = 20
	electionMs = 100
	// retention is how long old revisions are kept in the embedded server: a
	// watch that was away for longer must list again.
	retention = time.Hour
	// quotaBytes bounds the database of the embedded server. When it is
	// reached writes fail with store.ErrUnavailable until space is made.
	quotaBytes = 8 << 30
	// logEntries is after how many transactions the embedded server ends a part
	// of its log, which it holds in memory until then and replays when it starts.
	// logKept of them stay: there is no other member that would need them.
	logEntries = 2000
	logKept    = 100
	// maxValueBytes bounds one request to the embedded server. Resources are
	// at most 1 MiB.
	maxValueBytes = 3 << 20
)
