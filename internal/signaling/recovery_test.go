package signaling

import (
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// The route direction to the responder is lost while the initiator has its own.
func TestAnAnswerIsRepeatedUntilTheRouteComes(t *testing.T) {
	n := newNMS(t)
	echo := n.register()
	confirmation := wire.Confirmation{Echo: echo, DirectionID: 5, Direction: someDirection()}
	n.must(confirmation)
	n.c.Answer(5, true, own)
	only[wire.ConfirmationResponse](t, n.sent())
	if again := only[wire.ConfirmationResponse](t, n.wait(answerRetry*11/10)); again.DirectionID != 5 || !again.Accept || len(again.Candidates) != 1 {
		t.Errorf("repeated as %+v", again)
	}
	n.must(wire.RouteDirection{Echo: echo, DirectionID: 5, Kind: wire.RoutePunched, Direction: someDirection()})
	if sent := n.wait(RequestLifetime); len(sent) != 0 {
		t.Errorf("sent %v after the route", sent)
	}

	confirmation.DirectionID = 6
	n.must(confirmation)
	n.c.Answer(6, false, nil)
	only[wire.ConfirmationResponse](t, n.sent())
	if sent := n.wait(RequestLifetime); len(sent) != 0 {
		t.Errorf("a refusal is repeated: %v", sent)
	}
	confirmation.DirectionID = 7
	n.must(confirmation)
	n.c.Answer(7, true, nil)
	n.sent()
	if sent := n.wait(10 * time.Second); len(sent) != answerRetries {
		t.Errorf("repeated %d times, want %d", len(sent), answerRetries)
	}
}

func TestAnotherRelayIsAskedFor(t *testing.T) {
	n := newNMS(t)
	n.register()
	id, err := n.c.RequestElse(n.now, target)
	if err != nil {
		t.Fatal(err)
	}
	want := wire.DirectionRequest{RequestID: id, Flags: wire.DirectionRelayWanted | wire.DirectionRelayElse, Target: target}
	if got := only[wire.DirectionRequest](t, n.wait(time.Millisecond)); got != want {
		t.Errorf("sent %+v", got)
	}
}

// An NMS that has lost the location says so by a challenge; that is reported once.
func TestAForgottenLocationIsReported(t *testing.T) {
	n := newNMS(t)
	n.c.Tick(n.now)
	r := only[wire.Registration](t, n.sent())
	n.must(wire.Challenge{Echo: r.Echo, Cookie: [16]byte{1}}) // the first registration: nothing to forget
	if e := n.c.Events(); len(e) != 0 {
		t.Fatalf("events %v before the first registration", e)
	}
	n.sent()
	n.must(wire.RegistrationAck{Echo: r.Echo, Observed: observed, TTL: 90, Keepalive: 25})
	n.c.Events()
	sent := n.wait(28 * time.Second)
	if len(sent) == 0 {
		t.Fatal("no keep-alive")
	}
	r = sent[0].(wire.Registration)
	for range 2 {
		n.must(wire.Challenge{Echo: r.Echo, Cookie: [16]byte{2}})
	}
	onlyEvent[Forgotten](t, n.c)
	n.sent()
	n.must(wire.RegistrationAck{Echo: r.Echo, Observed: observed, TTL: 90, Keepalive: 25})
	if e := n.c.Events(); len(e) != 0 {
		t.Errorf("events %v after the same address was registered again", e)
	}
}

func TestARegistrationIsBroughtForward(t *testing.T) {
	n := newNMS(t)
	n.c.RegisterBy(n.now) // before the first one: nothing
	echo := n.register()
	n.c.RegisterBy(n.now.Add(time.Minute)) // later than the keep-alive: nothing
	n.c.RegisterBy(n.now.Add(time.Second))
	if sent := n.wait(time.Second - time.Millisecond); len(sent) != 0 {
		t.Errorf("sent %v too early", sent)
	}
	r := only[wire.Registration](t, n.wait(time.Millisecond))
	if r.Echo == echo {
		t.Error("the registration brought forward is a repetition")
	}
	n.c.RegisterBy(n.now) // one is under way
	if sent := n.wait(time.Millisecond); len(sent) != 0 {
		t.Errorf("sent %v beside the one under way", sent)
	}
}
