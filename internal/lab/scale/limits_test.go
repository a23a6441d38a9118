package scale

import "time"

// What is promised on a machine on which nothing else runs.
const (
	applyBound = 5 * time.Second        // of a folder of 1,000 resources
	pageBound  = 100 * time.Millisecond // 99 of 100 pages of a list
	watchBound = time.Second            // 99 of 100 changes, from acknowledged to delivered
)

const (
	// smallFleet is how many general nodes are measured unless
	// CYPHONIC_SCALE_GENERALNODES says otherwise.
	smallFleet = 20_000
	// perAdapter is how many general nodes an adapter carries.
	perAdapter = 100
	// operators is how many nodes there are.
	operators = 100
	// sites is how many sites the fleet is spread over; each has a policy.
	sites = 100
	// maxWatchers bounds the adapters that follow their lists, connecting how
	// many of them connect for the first time at once.
	maxWatchers = 1000
	connecting  = 32
	// folder is how many resources are applied at once.
	folder = 1000
	// changesPerSecond are spread over the adapters that follow.
	changesPerSecond = 200
	// writers is how many connections they are written by.
	writers = 16
	// patience bounds a start, a delivery and everything else that is waited for.
	patience = 5 * time.Minute
)

// samples say how much is measured.
type samples struct {
	pages   int // of each kind of list, at least: a list that has fewer is read again
	gets    int // of resources by name
	plans   int // of a policy
	seconds int // of changes to the adapters that follow
}

// samplesFor are fewer for a fleet that is measured with the other tests.
func samplesFor(generalNodes int) samples {
	if generalNodes <= smallFleet {
		return samples{pages: 60, gets: 200, plans: 5, seconds: 3}
	}
	return samples{pages: 300, gets: 2000, plans: 20, seconds: 30}
}
