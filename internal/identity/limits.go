package identity

import (
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// Bounds. Encoders refuse what exceeds them with ErrTooLong, decoders with ErrMalformed.
const (
	MaxGroups      = 8
	MaxGroup       = 32 // bytes of one group name
	MaxName        = wire.MaxName
	MaxUID         = 64
	MaxPreviousKey = 8 // keys of a Keyring beside the current one
	MaxRoots       = 8

	// MaxCertificateLife bounds a node certificate: 24 hours, which bound how long a revocation that
	// reaches nobody can be ignored, and one for clocks that are behind.
	MaxCertificateLife = 25 * time.Hour

	maxPEM = 8192 // bytes of a PEM file of this package
)
