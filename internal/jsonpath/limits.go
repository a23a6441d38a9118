package jsonpath

// Bounds of a template and of what it finds; more is an error.
const (
	maxTemplate = 16 << 10 // bytes
	maxNesting  = 32       // of ranges, and of conditions
	maxValues   = 4 << 20  // that one path goes through
)
