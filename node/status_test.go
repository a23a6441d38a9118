package node

import (
	"testing"

	"github.com/cyphonic/cyphonic/internal/endpoint"
)

func TestALostRegistrationIsShown(t *testing.T) {
	for name, row := range map[string]struct {
		phase      string
		registered bool
		want       string
		explained  bool
	}{
		"registered":         {PhaseUp, true, PhaseUp, false},
		"lost":               {PhaseUp, false, PhaseRegistering, true},
		"not registered yet": {PhaseRegistering, false, PhaseRegistering, false},
	} {
		t.Run(name, func(t *testing.T) {
			phase, reason := present(row.phase, "", []endpoint.LocalStatus{{Registered: row.registered}})
			if phase != row.want || (reason != "") != row.explained {
				t.Errorf("phase %s, reason %q", phase, reason)
			}
		})
	}
	if phase, _ := present(PhaseUp, "", nil); phase != PhaseUp {
		t.Errorf("between two identities: %s", phase)
	}
}
