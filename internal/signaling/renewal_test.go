package signaling

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// What the NMS says before it has the registration under a new ticket is sealed under the old one.
func TestAnswersFromBeforeARenewalCountForAWhile(t *testing.T) {
	for _, row := range []struct {
		name  string
		after time.Duration
		want  error
	}{{"at once", 0, nil}, {"in the life of a request", RequestLifetime - time.Millisecond, nil}, {"too late", RequestLifetime, ErrAuthentication}} {
		n := newNMS(t)
		n.register()
		id, err := n.c.Request(n.now, target, false)
		if err != nil {
			t.Fatal(err)
		}
		answer := n.seal(wire.DirectionFailure{RequestID: id, Code: wire.FailureDenied})
		n.c.Renew(n.now, Credentials{Ticket: []byte{1}, SessionKey: [32]byte{4}, Certificate: []byte{2}, Servers: []netip.AddrPort{server4}, ServerTime: t0})
		wantErr(t, row.name, n.c.Receive(n.now.Add(row.after), answer), row.want)
		if row.want == nil {
			wantErr(t, row.name+", again", n.c.Receive(n.now.Add(row.after), answer), ErrReplay)
		}
	}
}
