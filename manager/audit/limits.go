package audit

import "time"

const (
	// maxObjectBytes bounds before and after of one record together; larger ones are reduced to what differs, or left out. A record is
	// at most 16 KiB.
	maxObjectBytes = 14 << 10
	// maxQueue bounds the records of refused requests that wait to be written; more are dropped and counted.
	maxQueue = 4096
	// maxBatch bounds the records of one transaction. Moving one into the chain takes two writes.
	maxBatch = 60
	// maxBatchBytes bounds what moves into the chain in one transaction.
	maxBatchBytes = 512 << 10
	// maxSources bounds the subjects and addresses whose refused requests are counted; the quietest of a few is forgotten for a new one.
	maxSources = 4096
	// forgetSample is how many of them are compared to find one to forget.
	forgetSample = 16
	// noteBurst is how many refused requests of one subject or address are recorded at once, noteInterval how long it takes until one
	// more is.
	noteBurst    = 100
	noteInterval = time.Second
	// allBurst and allInterval are the same for everybody together.
	allBurst    = 1000
	allInterval = 10 * time.Millisecond
	// retryInterval is how long the log waits for a store that is away before it tries again.
	retryInterval = time.Second
	// lastFlush bounds the writing of the last records at the end.
	lastFlush = 2 * time.Second
	// moveInterval is how often the leader looks for records that wait.
	moveInterval = 250 * time.Millisecond
	// maxPending bounds the keys that the leader looks at in one go.
	maxPending = 20_000
	// trimInterval is how often the leader removes what is too old.
	trimInterval = time.Minute
	// trimBatch bounds the records that are removed in one transaction.
	trimBatch = 100
	// verifyInterval is how often the leader verifies some more records, verifyBatch how many.
	verifyInterval = 10 * time.Second
	verifyBatch    = 1000
	// queryPage is how many records a query reads at once, maxScan how many it looks at before it answers with what it has.
	queryPage = 500
	maxScan   = 20_000
	// clockSkew is how far the clocks of managers may be apart without a query by time missing a record.
	clockSkew = 10 * time.Minute
)

// Limits bound the chain; over them the oldest records are removed. Zero fields are defaults.
type Limits struct {
	Records int64         // default: 1,000,000
	Bytes   int64         // default: 1 GiB
	Age     time.Duration // default: 90 days
}

func (l Limits) orDefault() Limits {
	if l.Records == 0 {
		l.Records = 1_000_000
	}
	if l.Bytes == 0 {
		l.Bytes = 1 << 30
	}
	if l.Age == 0 {
		l.Age = 90 * 24 * time.Hour
	}
	return l
}
