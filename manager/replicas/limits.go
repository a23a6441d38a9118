package replicas

import "time"

const (
	// maxReplicas bounds the live replicas that are looked at; further ones, by service and name, are not shown.
	maxReplicas = 5000
	// maxSpeakers bounds the hosts whose speakers are looked at.
	maxSpeakers = 256
	// drainLife is how long the wish that a replica drain lasts if nobody takes it back: longer than a replica needs to
	// notice, short enough not to meet another one of its name.
	drainLife = 2 * time.Minute
	// ownInterval is how often this manager looks whether it shall drain; with every reportEvery-th look it reports itself.
	ownInterval = time.Second
	reportEvery = 2
	// ownLife is how long it is believed to be there after its last report.
	ownLife = 5 * time.Second
	// lastReport bounds the removal of its record at the end.
	lastReport = time.Second
)
