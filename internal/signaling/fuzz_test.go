package signaling

import (
	"testing"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// FuzzReceive gives the client arbitrary datagrams and arbitrary authentic bodies.
func FuzzReceive(f *testing.F) {
	seeder := newNMS(&testing.T{})
	f.Add(seeder.seal(wire.Challenge{Echo: 1}))
	f.Add(wire.RegistrationAck{Echo: 1, Observed: observed, TTL: 90, Keepalive: 25, Policy: 7}.AppendBody(nil))
	f.Add([]byte{0x11, 0x10})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := newNMS(t)
		n.c.Tick(n.now)
		n.c.Outbox()
		plain := append([]byte(nil), b...)
		_ = n.c.Receive(n.now, plain)
		n.counter++
		_ = n.c.Receive(n.now, n.keys.SealReply(nil, tag, [24]byte{1}, plain))
		n.c.Tick(n.now)
	})
}
