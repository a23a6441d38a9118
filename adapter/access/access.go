// Package access decides whether a device behind the adapter is the general node that it claims to be, and
// with what assurance. It must not log anybody in or open anything: it only answers.
package access

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyphonic/cyphonic/adapter/lan"
	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
)

// Errors of Authenticate.
var (
	ErrMismatch    = errors.New("access: the device's MAC address is not that of the general node")
	ErrUnsupported = errors.New("access: this adapter does not offer the authentication method")
)

// Device is what was seen on the LAN.
type Device struct {
	MAC  lan.MAC
	Port string
}

// Authenticate checks a device against the specification of a general node by the specification's method.
// The assurance goes into the device's certificate, so that policies can ask for more than a MAC address,
// which anybody can copy.
func Authenticate(_ context.Context, spec api.GeneralNodeSpec, d Device) (identity.Assurance, error) {
	switch spec.Authentication.Method {
	case api.AuthenticationMethodMac, "":
		want, err := lan.ParseMAC(spec.Mac)
		if err != nil {
			return 0, err
		}
		if want != d.MAC {
			return 0, fmt.Errorf("%w: seen %s, expected %s", ErrMismatch, d.MAC, want)
		}
		return identity.AssuranceMAC, nil
	default:
		return 0, fmt.Errorf("%w %s: set authentication.method to mac", ErrUnsupported, spec.Authentication.Method)
	}
}
