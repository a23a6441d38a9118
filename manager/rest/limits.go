package rest

import "time"

const (
	// maxBodyBytes bounds a request body, but for the operations below; over it
	// the answer is 413.
	maxBodyBytes = 1 << 20
	// maxPlanBytes bounds the body of a plan: 5,000 resources.
	maxPlanBytes = 16 << 20
	// maxRestoreBytes bounds the body of a restore, which is read as a stream:
	// 1,000,000 general nodes are about 1 GiB.
	maxRestoreBytes = 16 << 30
	// maxPushBytes bounds the compressed metrics of an adapter.
	maxPushBytes = 4 << 20
	// requestTimeout bounds the handling of a request that is not a watch,
	// with reading its body and writing its answer.
	requestTimeout = 30 * time.Second
	// transferTimeout bounds a backup or a restore.
	transferTimeout = time.Hour
	// maxWatches bounds the open watches of a replica; over it the answer is
	// 503. A watch on its own connection costs 68 KiB and three goroutines over
	// HTTP/2, 48 KiB and two over HTTP/1.1 (measured with TLS 1.3 and 10,000 of
	// them), so that all together need 1.1 GiB: 10,000 adapters may meet on the
	// last replica, with room for operators.
	maxWatches = 16384
	// maxWatchesPerAdapter bounds the open watches of one adapter; over it the
	// answer is 503. It needs one; others may linger after it lost its connection.
	maxWatchesPerAdapter = 4
	// maxWatchesPerSubject bounds the open watches of any other subject; over it
	// the answer is 503.
	maxWatchesPerSubject = 1024
	// maxEventWatches bounds the open watches of events and replicas, each of which is a watch
	// of etcd; over it the answer is 503.
	maxEventWatches = 128
	// maxEventWatchesPerSubject bounds those of one subject, so that nobody takes
	// all of them.
	maxEventWatchesPerSubject = 32
	// storedPatience is how long a watch of events or replicas waits before it looks whether
	// the server ends.
	storedPatience = time.Second
	// heartbeatInterval is how often a watch sends a BOOKMARK and checks the
	// right to watch again.
	heartbeatInterval = 10 * time.Second
	// bookmarkEvery is after how many events a watch sends a BOOKMARK at the latest.
	bookmarkEvery = 500
	// watchChunk is how many events a watch writes at once.
	watchChunk = 256
	// watchWriteTimeout bounds the writing of one chunk of events: a client
	// that reads more slowly is disconnected and resumes when it can.
	watchWriteTimeout = 10 * time.Second
	// watchEndSpan is the time over which the watches of a server that shuts down
	// end, so that not all clients come to the other replicas at once; fewer than
	// watchEndRate per second end faster.
	watchEndSpan = 4 * time.Second
	watchEndRate = 2500
	// maxPageItems is the most items that a list answers at once, and the default.
	maxPageItems = 1000
	// maxPageBytes is after how many bytes of items a page ends.
	maxPageBytes = 8 << 20
	// maxPageScan bounds how many resources of the cache one page looks at: a list
	// with selectors that hardly anything fulfils has short pages instead of slow
	// ones. 100,000 take about 10 ms.
	maxPageScan = 100_000
	// maxPageRead bounds how many resources one page reads from the store, when
	// this replica has no view of the revision; storeChunk is how many it reads
	// at once.
	maxPageRead = 4000
	storeChunk  = 1000
	// maxContinueBytes bounds the token of a next page; names have 253 bytes.
	maxContinueBytes = 1024
	// maxRepeats bounds how often a query parameter that is a list may be given.
	maxRepeats = 16
	// readPatience is how long a read waits for the store before it is answered
	// from the cache and says so.
	readPatience = 1500 * time.Millisecond
	// outageMemory is how long readers are answered from the cache at once after
	// the store did not answer one of them.
	outageMemory = time.Second
	// maxRequestsPerAdapter and maxRequestsPerSubject bound the requests of one
	// subject that are in progress, watches apart; over it the answer is 429.
	maxRequestsPerAdapter = 64
	maxRequestsPerSubject = 1024
	// maxRounds bounds how often a write is planned again because something
	// it depends on changed in between; over it the answer is 409.
	maxRounds = 16
	// maxReferrers bounds the names in a message about referring resources.
	maxReferrers = 5
	// maxErrorDetails bounds the faults in one answer.
	maxErrorDetails = 32
	// referrersAtOnce is how many references are read at once to find out who
	// refers to a resource.
	referrersAtOnce = 256
	// maxPlanItems bounds the items and deletions of a plan; over it the answer
	// is 400. maxPlans bounds the plans that are made at a time, and those that
	// one subject asks for, with the time in which they arrive; over it the answer
	// is 429.
	maxPlanItems = 5000
	maxPlans     = 4
	// minIdempotencyKey and maxIdempotencyKey bound the characters of an
	// Idempotency-Key; idempotencyTTL is how long the answer is kept.
	minIdempotencyKey = 8
	maxIdempotencyKey = 128
	idempotencyTTL    = 24 * time.Hour
	// nearlyFullPercent is from which share of its addresses in use on a prefix
	// is nearly full, which is an event.
	nearlyFullPercent = 90
	// cascadeLookahead is how many times more references than it may delete a
	// pass of a cascading deletion looks at, to find some that it can delete.
	cascadeLookahead = 50
	// maxFieldManager bounds the name of a field manager.
	maxFieldManager = 128
)
