package replica

import "time"

// Bounds and intervals of a replica's connection to etcd.
const (
	// publishInterval is the shortest time between two snapshots while changes
	// stream in. A single change is published at once.
	publishInterval = 20 * time.Millisecond

	// listPage is the number of keys read from etcd at a time when starting.
	listPage = 2000

	// retryMin and retryMax bound the back-off between attempts to reach etcd.
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second

	// listTimeout bounds one page of a list, enrolTimeout one enrolment, and
	// syncTimeout one wait for the newest revision.
	listTimeout  = 10 * time.Second
	enrolTimeout = 5 * time.Second
	syncTimeout  = 2 * time.Second

	// progressInterval is how often a wait for a revision asks etcd for it: twice, because the first answer alone does
	// not count.
	progressInterval = 20 * time.Millisecond

	// enrolAttempts is how often an enrolment is tried again after somebody
	// else changed one of the keys it depends on.
	enrolAttempts = 8

	// syncsPerSecond and syncBurst bound the reads of etcd that strangers can
	// cause by logging in under names that do not exist.
	syncsPerSecond = 20
	syncBurst      = 20

	// keyCheckInterval is how often the age of the shared keys is looked at.
	keyCheckInterval = time.Minute
	// keyRotationInterval is the age at which a key is followed by a new one.
	keyRotationInterval = 24 * time.Hour
	// keyActivationDelay is how long a new key is known before it seals.
	keyActivationDelay = 5 * time.Minute
	// keyRetention is the age at which a key is removed. It exceeds the
	// rotation interval plus the longest life of anything sealed (24 h).
	keyRetention = 72 * time.Hour
)

// Bounds and intervals of what is followed and of leased records.
const (
	// followRetryMax bounds the back-off of a watch, leaseRetryMax that of a leased record: less than half its TTL.
	followRetryMax = 2 * time.Second
	leaseRetryMax  = time.Second

	// leaseRenewals is how often a lease is renewed in its life, and how often etcd is asked for one renewal while it
	// does not answer.
	leaseRenewals = 5

	// checkInterval is how often a watch asks whether etcd answers and its watch is heard of, checkTimeout how long it
	// waits for either, askAgain how often it asks again, another member, if there is no answer.
	checkInterval = 2 * time.Second
	checkTimeout  = time.Second
	askAgain      = 2

	// registrationTTL is how long the record of a replica that was killed stays.
	registrationTTL = 5 * time.Second
	// minLease is the shortest TTL that etcd grants with its default election timeout.
	minLease = 2 * time.Second
	// revokeTimeout bounds the removal of a leased record at the end.
	revokeTimeout = 2 * time.Second
	// loadInterval is the shortest time between two writes of a record that only tell a new load.
	loadInterval = time.Second

	// maxRecordText bounds the texts of a replica's record, in bytes.
	maxRecordText = 255

	// maxMembers bounds the replicas that are known; more are left out and counted.
	maxMembers = 2000
	// maxDrains bounds the requests to drain that are known.
	maxDrains = 2000
)

// Bounds of what the state keeps besides the desired state itself.
const (
	// maxInterned bounds the texts and the sets of labels that devices share; when it is reached sharing begins anew.
	maxInterned = 65_536
	// maxReplaced is of how many networks the policies are compiled one by one; of more, all are.
	maxReplaced = 8
)
