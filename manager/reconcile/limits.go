package reconcile

import "time"

const (
	// officeTTL is how long a leader that has gone away stands in the way of
	// the next.
	officeTTL = 10 * time.Second
	// retryInterval is the pause before the office is sought again, or a piece
	// of work that failed is begun again.
	retryInterval = 2 * time.Second
	// resignTimeout bounds the giving up of the office at the end.
	resignTimeout = 2 * time.Second
	// deletionInterval is how often resources are looked for whose deletion
	// waits for others.
	deletionInterval = time.Second
	// deletionObjects and deletionBatch bound what is gone on with in one pass:
	// so many resources, so many dependents of each.
	deletionObjects = 64
	deletionBatch   = 200
	// conditionsInterval is how often the conditions of policies and networks
	// are worked out, if anything has changed.
	conditionsInterval = 15 * time.Second
	// cloudInterval is how often the status of what is announced is worked out.
	cloudInterval = 2 * time.Second
	// maxCloudWrites bounds the statuses that are written in one pass; the others
	// follow in the next.
	maxCloudWrites = 100
	// maxSessions, maxHosts and maxPrefixes bound the lists of a status.
	maxSessions = 256
	maxHosts    = 256
	maxPrefixes = 256
	// maxNamed bounds what a message names one by one.
	maxNamed = 3
	// maxConditionWrites bounds the conditions that are written in one pass;
	// the others follow in the next.
	maxConditionWrites = 500
	// maxUnmatched bounds the selectors that a condition names.
	maxUnmatched = 5
	// nearlyFull is the part of a prefix over which a network says so.
	nearlyFullPercent = 90
)
