package manifest

// Bounds of what is read. What is beyond is a fault that names the bound.
const (
	MaxFiles     = 10_000    // in one reading
	MaxFile      = 16 << 20  // bytes
	MaxBytes     = 256 << 20 // in one reading
	MaxResources = 10_000    // in one reading
	MaxFaults    = 1000      // that are reported

	maxDocument = 1 << 20 // bytes as JSON; also what stops aliases that multiply
	maxDepth    = 64      // of nested values
	maxPointer  = 512     // bytes; every value of a document has one
	maxFolders  = 64      // below one another
)
