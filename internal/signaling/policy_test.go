package signaling

import (
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestAChangedPolicyVersionIsReported(t *testing.T) {
	n := newNMS(t)
	n.c.Tick(n.now)
	first := only[wire.Registration](t, n.sent()).Echo
	ack := func(echo, policy uint64) wire.RegistrationAck {
		return wire.RegistrationAck{Echo: echo, Observed: observed, TTL: 90, Keepalive: 25, Policy: policy}
	}
	none := func(name string, body wire.SignalBody, want error) {
		t.Helper()
		wantErr(t, name, n.answer(body), want)
		if e := n.c.Events(); len(e) != 0 {
			t.Errorf("%s: %v", name, e)
		}
	}
	n.must(ack(first, 5))
	onlyEvent[Registered](t, n.c)
	due := n.c.Next()
	none("known version", ack(first, 5), ErrDuplicate)
	none("no version", ack(first, 0), ErrDuplicate)
	none("foreign echo", ack(first+2, 6), ErrUnasked)

	unasked := n.seal(ack(first, 6))
	if err := n.c.Receive(n.now, unasked); err != nil {
		t.Fatal(err)
	}
	onlyEvent[PolicyChanged](t, n.c)
	wantErr(t, "replay", n.c.Receive(n.now, unasked), ErrReplay)
	if n.c.Next() != due || len(n.c.Outbox()) != 0 {
		t.Error("it moves the keep-alive")
	}

	// While the next registration is under way the NMS may still refer to the one before.
	n.now = due.Add(time.Millisecond)
	n.c.Tick(n.now)
	second := only[wire.Registration](t, n.sent()).Echo
	n.must(ack(first, 7))
	onlyEvent[PolicyChanged](t, n.c)
	none("the acknowledgement of the next one", ack(second, 7), nil)

	// One that was lost is healed by the next keep-alive.
	n.now = n.c.Next().Add(time.Millisecond)
	n.c.Tick(n.now)
	n.must(ack(only[wire.Registration](t, n.sent()).Echo, 8))
	onlyEvent[PolicyChanged](t, n.c)
}
