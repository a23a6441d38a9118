package ctl

import "time"

// Bounds of the verbs that change something.
const (
	maxPlanned        = 5000 // resources that the manager plans at once
	maxParallel       = 128  // requests at a time
	maxFieldManager   = 128  // bytes
	maxShownChanges   = 20   // sets of flows that are shown
	maxAuditRecord    = 4 << 20
	maxIdentityFile   = 1 << 20
	pollEvery         = 500 * time.Millisecond
	drainTimeout      = 5 * time.Minute
	deleteTimeout     = 5 * time.Minute
	maxStillUp        = 5 // general nodes that a drain which takes too long names
	auditSinceDefault = 24 * time.Hour
)
