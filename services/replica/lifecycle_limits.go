package replica

import "time"

// Intervals of a life cycle.
const (
	// readyInterval is how often a service is asked whether it can serve.
	readyInterval = 50 * time.Millisecond
	// joinLimit bounds the wait for the balancers when the replica becomes Ready.
	joinLimit = 3 * time.Second
	// finishInterval is how often it is asked what is still under way.
	finishInterval = 20 * time.Millisecond
)
