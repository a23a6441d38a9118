package policy

// Bounds of what Explain and Difference answer and of the memory they take.
const (
	// MaxReasons is the number of policies that Explain gives a reason for; the nearest misses come first.
	MaxReasons = 64
	// MaxChanges is the number of sets of flows that Difference lists, those of the most pairs first.
	MaxChanges = 64
	// MaxSamples is the number of pairs that Difference names for a set of flows.
	MaxSamples = 4

	maxFlowSets   = 1024    // sets of flows that are counted one by one; pairs beyond count in the totals only
	maxClasses    = 1 << 18 // classes of devices that are told apart
	maxRoles      = 1 << 23 // roles of all classes in policies, at both moments: what the memory is spent on
	maxClassPairs = 1 << 21 // pairs of classes that are compared, and policies between them
	maxRemembered = 1 << 18 // combinations of labels whose class is remembered; then they are forgotten and learnt again
)
