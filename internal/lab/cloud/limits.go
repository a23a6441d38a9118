package cloud

import "time"

const (
	// maxCloudHosts and maxReplicas bound the hosts and the replicas of one service on a host.
	maxCloudHosts = 9
	maxReplicas   = 8
	// maxSources bounds the addresses of the client host, of each family.
	maxSources = 4000
	// startTimeout bounds how long a replica, a router or an announcement may take.
	startTimeout = 40 * time.Second
	// poll is how often something that is waited for is looked at.
	poll = 25 * time.Millisecond
	// setupParallel is how many devices log in at once when the load is set up.
	setupParallel = 24
	// machineInterval is how often it is looked what else the machine does, maxMachineSamples how much of that is
	// remembered; of more, the older half goes.
	machineInterval   = 200 * time.Millisecond
	maxMachineSamples = 1 << 16
)
