package ctl

import "time"

// Bounds of what is read, kept and waited for.
const (
	maxWarnings    = 16               // of the managers that are printed; more are passed over
	maxChunk       = 1000             // resources of a page that a manager gives
	maxCompletions = 500              // names that are offered to a shell
	completionTime = 3 * time.Second  // a shell waits for names
	loginTime      = 5 * time.Minute  // for somebody to log in at the provider
	providerTime   = 30 * time.Second // for one answer of the OpenID provider
	followPatience = 60 * time.Second // for managers to come back while their changes are followed
	maxConflicts   = 5                // times that a resource is read again because somebody else changed it
	maxEdited      = 1 << 20          // bytes of a file that an editor leaves
	maxDescribed   = 20               // events that describe shows of one resource
	refreshBefore  = 30 * time.Second // a token is refreshed so long before it ends
)
