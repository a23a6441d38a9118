package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

func TestADeviceThatIsBeingDeletedIsDisabled(t *testing.T) {
	specs := map[string]string{
		keyspace.Nodes:        `{"network":"f"}`,
		keyspace.Adapters:     `{"network":"f"}`,
		keyspace.GeneralNodes: `{"network":"f","adapter":"a","mac":"02:00:00:00:00:01"}`,
	}
	for plural, spec := range specs {
		for _, stamp := range []string{"", `,"deletionTimestamp":"2030-01-01T00:00:00Z"`} {
			s := newState()
			value := fmt.Sprintf(`{"metadata":{"name":"x","uid":"u"%s},"spec":%s}`, stamp, spec)
			if err := s.put(keyspace.Resource(plural, "x"), []byte(value)); err != nil {
				t.Fatal(err)
			}
			snapshot, errs := s.snapshot(time.Now())
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if got := snapshot.Subject(Ref{plural, "x"}); got == nil || got.Disabled != (stamp != "") {
				t.Errorf("%s with %q: %+v", plural, stamp, got)
			}
		}
	}
}
