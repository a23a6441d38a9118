package gitsync

import "time"

const (
	// maxSources bounds the git sources that are followed; further ones are left
	// out until others go, which is logged.
	maxSources = 100
	// maxRounds bounds the rounds that are done at the same time, and with it
	// the memory for repositories: the others wait for their turn.
	maxRounds = 4
	// maxDocuments bounds the resources of one git source: what a plan takes.
	maxDocuments = 5000
	// maxPlanBytes bounds them together, with room for the envelope of the plan.
	maxPlanBytes = 15 << 20
	// fetchTimeout bounds everything that is asked of a git server in a round.
	fetchTimeout = 90 * time.Second
	// roundTimeout bounds a round.
	roundTimeout = 10 * time.Minute
	// parallelWrites is how many resources are applied at once.
	parallelWrites = 8
	// maxAttempts bounds how often a write is sent that fails for a while, each
	// with the repetitions of the client.
	maxAttempts = 4
	// firstRetry is the pause after a failed round; it doubles up to the
	// interval of the source.
	firstRetry = 5 * time.Second
	// maxReplans bounds the plans of one round when others write the same
	// resources at the same time.
	maxReplans = 3
	// censusInterval is how old the knowledge may be of what belongs to an apply
	// set; it is less than any interval of a source.
	censusInterval = 5 * time.Second
	// maxMessage bounds messages of conditions and failures.
	maxMessage = 500
)
