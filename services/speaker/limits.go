package speaker

import "time"

const (
	// maxPeers bounds the sessions of a host; more BGPPeers are left out, last names first.
	maxPeers = 16
	// maxResources bounds the resources of one kind that are looked at; more are left out.
	maxResources = 256
	// maxSpeakers bounds the other hosts that are known; more are left out.
	maxSpeakers = 1024
	// maxPrefixes bounds what is announced to one peer.
	maxPrefixes = 128

	// maxReplicas bounds the registered replicas; more are refused.
	maxReplicas = 256
	// maxBackends bounds the replicas of one kind that traffic is spread over, as the packet filter does.
	maxBackends = 64
	// maxDirect bounds the sockets that are kept out of connection tracking, as the packet filter does.
	maxDirect = 64
	// maxLine bounds one message of a replica.
	maxLine = 16 << 10
	// maxPending bounds the answers that a replica has not read; it is cut off then.
	maxPending = 64
	// firstMessage is how long a connection may take until it has registered.
	firstMessage = 5 * time.Second
	// answerTimeout bounds one write to a replica.
	answerTimeout = 2 * time.Second

	// acceptRetry is the wait after a connection could not be accepted.
	acceptRetry = 100 * time.Millisecond

	// applyRetryMin and applyRetryMax bound the wait after the packet filter could not be changed.
	applyRetryMin = 100 * time.Millisecond
	applyRetryMax = 5 * time.Second
	// filterCheck is how often is looked whether the packet filter is still as it was made.
	filterCheck = 5 * time.Second
	// cleanDelay is the wait after a change of the packet filter until what is left over of before is removed.
	cleanDelay = 5 * time.Second

	// routerRetry is the wait after a peer or route could not be given to the router.
	routerRetry = time.Second
	// fullHold is how long a session stays down after the router announced too many prefixes.
	fullHold = time.Minute
	// bfdHold is how long a session stays down after BFD has lost the router, until it is tried without BFD.
	bfdHold = 2 * time.Second
	// returnGrace is how long after its return to etcd a host that was cut off announces nothing, and returnLimit after how long
	// a session stands it does so in any case.
	returnGrace = 1500 * time.Millisecond
	returnLimit = 10 * time.Second
	// reportInterval is how often state is looked at without an event, and reports are made at most.
	reportInterval = time.Second
	// reportDelay collects changes that come together into one report.
	reportDelay = 50 * time.Millisecond
	// secretInterval is how often the files of passwords are read again.
	secretInterval = 30 * time.Second
	// maxPassword is the longest password of TCP MD5 (TCP_MD5SIG_MAXKEYLEN of Linux).
	maxPassword = 80
	// maxReason bounds a reason in reports, as the API does.
	maxReason = 256
	// stopLimit bounds the graceful end over what the graceful shutdown takes.
	stopLimit = 5 * time.Second
)
