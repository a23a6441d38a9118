package events

import "time"

const (
	// TimeToLive is how long an event is kept after it last happened.
	TimeToLive = 24 * time.Hour
	// maxPending bounds the events that wait to be written; over it they are
	// dropped (reason full).
	maxPending = 2048
	// flushInterval is how often events are written.
	flushInterval = time.Second
	// maxPerFlush bounds the events written at once, so that mass changes do
	// not fill the database with events; what is left waits for the next time.
	maxPerFlush = 256
	// batchSize is how many events one transaction writes.
	batchSize = 64
	// maxKnown bounds the events whose revision is remembered; over it all are
	// forgotten and read again when they happen.
	maxKnown = 4096
	// maxObjects bounds the resources whose rate is remembered; over it those
	// that have been quiet are forgotten.
	maxObjects = 4096
	// objectBurst and objectInterval bound the different events about one
	// resource: so many at once, then one per interval. Over it they are
	// dropped (reason rate).
	objectBurst    = 25
	objectInterval = 10 * time.Second
	// maxMessageBytes bounds a message; what is over it is cut off.
	maxMessageBytes = 1024
	// writeRounds bounds the attempts to write an event that other managers
	// write at the same time; over it it is dropped (reason conflict).
	writeRounds = 5
	// lastWrite bounds the writing of what waits when the recorder ends.
	lastWrite = 2 * time.Second
	// expiryInterval is how often tokens are looked for that have expired.
	expiryInterval = 30 * time.Second
)
