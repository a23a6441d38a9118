package fields

const (
	// MaxManagers bounds the accounts of one resource; over it the oldest are
	// merged into that of MergedManager.
	MaxManagers = 16
	// MergedManager owns the fields of managers that were merged.
	MergedManager = "earlier-managers"
)
