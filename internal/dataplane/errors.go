package dataplane

import (
	"errors"

	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/wire"
)

func reasonOfWireError(err error) dropReason {
	if errors.Is(err, wire.ErrVersion) {
		return dropVersion
	}
	return dropMalformed
}

func reasonOfOpenError(err error) dropReason {
	switch {
	case errors.Is(err, tunnel.ErrErased):
		return dropErased
	case errors.Is(err, tunnel.ErrAuth):
		return dropAuthentication
	}
	return dropMalformed
}

// ErrExhausted is returned when a session has no send counter left or has ended.
var ErrExhausted = errors.New("the session has no send counter left")
