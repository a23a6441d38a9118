package access

import (
	"context"
	"errors"
	"testing"

	"github.com/cyphonic/cyphonic/adapter/lan"
	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
)

func TestAuthenticate(t *testing.T) {
	mac := lan.MAC{2, 0, 0, 0, 0, 1}
	tests := map[string]struct {
		method api.AuthenticationMethod
		mac    string
		want   error
	}{
		"MAC fits":             {api.AuthenticationMethodMac, "02:00:00:00:00:01", nil},
		"MAC in capitals":      {api.AuthenticationMethodMac, "02-00-00-00-00-01", nil},
		"no method means MAC":  {"", "02:00:00:00:00:01", nil},
		"wrong MAC":            {api.AuthenticationMethodMac, "02:00:00:00:00:02", ErrMismatch},
		"method not available": {api.AuthenticationMethodDot1x, "02:00:00:00:00:01", ErrUnsupported},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			spec := api.GeneralNodeSpec{Mac: test.mac, Authentication: api.GeneralNodeAuthentication{Method: test.method}}
			got, err := Authenticate(context.Background(), spec, Device{MAC: mac, Port: "lan1"})
			if !errors.Is(err, test.want) {
				t.Fatalf("error = %v, want %v", err, test.want)
			}
			if (err == nil) != (got == identity.AssuranceMAC) {
				t.Errorf("assurance = %v with error %v", got, err)
			}
		})
	}
}
