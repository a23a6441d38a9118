package endpoint

import (
	"errors"

	"github.com/cyphonic/cyphonic/internal/signaling"
	"github.com/cyphonic/cyphonic/internal/tunnel"
)

// signalReason is the drop reason of an error of signaling.Client.Receive.
func signalReason(err error) string {
	switch {
	case errors.Is(err, signaling.ErrAuthentication):
		return dropAuth
	case errors.Is(err, signaling.ErrReplay):
		return dropReplay
	case errors.Is(err, signaling.ErrUnasked):
		return dropUnasked
	case errors.Is(err, signaling.ErrDuplicate):
		return dropDuplicate
	case errors.Is(err, signaling.ErrTag), errors.Is(err, signaling.ErrClosed):
		return dropTag
	}
	return dropMalformed
}

// handshakeReason is the drop reason of an error of a handshake step.
func handshakeReason(err error) string {
	switch {
	case errors.Is(err, tunnel.ErrMAC):
		return dropMAC
	case errors.Is(err, tunnel.ErrCertificate):
		return dropCertificate
	case errors.Is(err, tunnel.ErrState), errors.Is(err, tunnel.ErrErased):
		return dropDuplicate
	case errors.Is(err, tunnel.ErrIndex):
		return dropIndex
	case errors.Is(err, tunnel.ErrAuth), errors.Is(err, tunnel.ErrPeer), errors.Is(err, tunnel.ErrCipher):
		return dropHandshake
	}
	return dropMalformed
}
