package replica

import "time"

// Intervals of a life cycle.
const (
	// readyInterval is how often a service is asked whether it can serve.
	readyInterval = 50 * time.Millisecond
	// finishInterval is how often it is asked what is still under way.
	finishInterval = 20 * time.Millisecond
)
