package path

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

var (
	t0     = time.Unix(1000, 0)
	direct = Path{Addr: netip.MustParseAddrPort("203.0.113.2:4000")}
	moved  = Path{Addr: netip.MustParseAddrPort("203.0.113.2:4001")}
	lan    = Path{Addr: netip.MustParseAddrPort("192.168.1.2:4000")}
	relay  = Path{Addr: netip.MustParseAddrPort("198.51.100.1:7443"), Channel: 7}
	relay2 = Path{Addr: netip.MustParseAddrPort("198.51.100.1:7443"), Channel: 8}
)

// bench runs a Selector against a peer that answers probes on the paths in
// open after rtt, and keeps the times at which things happened.
type bench struct {
	*Selector
	t       *testing.T
	now     time.Time
	rtt     time.Duration
	open    map[Path]bool
	traffic Traffic
	sending bool // this end sends data all the time
	hearing bool // the peer's data arrives on an open current path
	replies []reply
	log     []logged
}

type reply struct {
	at time.Time
	a  Action
}

type logged struct {
	at time.Duration // since the start
	Action
}

func newBench(t *testing.T, controlling bool) *bench {
	var id uint64
	b := &bench{t: t, now: t0, rtt: 20 * time.Millisecond, open: map[Path]bool{}}
	b.Selector = NewSelector(Config{Controlling: controlling, NewID: func() uint64 { id++; return id }})
	return b
}

// run advances the time in steps of 10 ms.
func (b *bench) run(d time.Duration) {
	for end := b.now.Add(d); b.now.Before(end); {
		b.now = b.now.Add(10 * time.Millisecond)
		if b.sending {
			b.traffic.LastTx = b.now
		}
		if b.hearing && b.open[b.Current()] {
			b.traffic.LastRx = b.now
		}
		for len(b.replies) > 0 && !b.replies[0].at.After(b.now) {
			r := b.replies[0]
			b.replies = b.replies[1:]
			b.traffic.LastRx = b.now
			if !b.Replied(b.now, r.a.Path, r.a.ID) {
				b.t.Errorf("reply to %v refused", r.a)
			}
		}
		if next := b.Next(); !next.IsZero() && !next.After(b.now) {
			b.Tick(b.now, b.traffic)
		}
		b.collect()
	}
}

func (b *bench) collect() {
	for _, a := range b.Actions() {
		b.log = append(b.log, logged{b.now.Sub(t0), a})
		if a.Op == OpProbe && b.open[a.Path] {
			b.replies = append(b.replies, reply{b.now.Add(b.rtt), a})
		}
	}
}

func (b *bench) count(op Op) (n int) {
	for _, l := range b.log {
		if l.Op == op {
			n++
		}
	}
	return n
}

func (b *bench) established(p Path) {
	b.open[p] = true
	b.traffic = Traffic{LastTx: b.now, LastRx: b.now}
	b.Established(b.now, p)
	b.collect()
	if b.count(OpProbe) == 0 {
		b.t.Error("the new session is not confirmed by a probe")
	}
	b.run(50 * time.Millisecond)
	b.log = nil
}

func (b *bench) wantCurrent(p Path) {
	b.t.Helper()
	if b.Current() != p {
		b.t.Fatalf("at %v the path is %v, want %v\n%v", b.now.Sub(t0), b.Current(), p, b.log)
	}
}

func TestSelectorLeavesAWorkingPathAlone(t *testing.T) {
	b := newBench(t, true)
	b.established(direct)
	b.SetDirect(b.now, []netip.AddrPort{direct.Addr, lan.Addr})
	b.sending, b.hearing = true, true
	b.run(60 * time.Second)
	b.wantCurrent(direct)
	if n := b.count(OpProbe); n != 0 {
		t.Errorf("%d probes under answered traffic, want none", n)
	}
}

func TestSelectorChecksOnceWhenThePeersTrafficStops(t *testing.T) {
	b := newBench(t, true)
	b.established(direct)
	b.traffic.RxPackets = 7
	b.run(500 * time.Millisecond)
	if n := b.count(OpProbe); n != 0 {
		t.Errorf("%d probes while the peer sends", n)
	}
	b.run(15 * time.Second)
	if n := b.count(OpProbe); n != 1 {
		t.Errorf("%d probes after it has stopped, want 1", n)
	}
}

func TestSelectorAsksAnIdlePathToKeepItAlive(t *testing.T) {
	b := newBench(t, true)
	b.established(direct)
	b.run(65 * time.Second)
	if n := b.count(OpProbe); n != 3 {
		t.Errorf("%d probes in 65 s of silence, want 3: %v", n, b.log)
	}
	b.wantCurrent(direct)
}

func TestSelectorGoesToTheRelayWithinTwoSeconds(t *testing.T) {
	for _, mutual := range []bool{true, false} {
		b := newBench(t, true)
		b.established(direct)
		b.sending, b.hearing = true, mutual
		b.run(5 * time.Second)
		blocked := b.now.Sub(t0)
		b.open[direct] = false
		for range 200 {
			b.run(10 * time.Millisecond)
			if b.count(OpRelay) > 0 && b.Relay().IsZero() { // the caller binds in 100 ms
				b.run(100 * time.Millisecond)
				b.open[relay] = true
				b.SetRelay(b.now, relay)
				b.collect()
			}
			if b.Current() == relay {
				break
			}
		}
		b.wantCurrent(relay)
		if took := b.now.Sub(t0) - blocked; took > 2*time.Second {
			t.Errorf("peer sending %v: change took %v, want at most 2 s", mutual, took)
		}
	}
}

func TestSelectorReturnsToTheDirectPath(t *testing.T) {
	b := newBench(t, true)
	b.SetDirect(b.now, []netip.AddrPort{lan.Addr, direct.Addr})
	b.SetRelay(b.now, relay)
	b.established(relay)
	b.sending, b.hearing = true, true
	b.run(20 * time.Second)
	b.wantCurrent(relay)
	if n := b.count(OpAnnounce); n < 5 || n > 8 {
		t.Errorf("%d announcements in 20 s, want one every 3 s", n)
	}
	b.open[direct] = true
	b.run(4 * time.Second)
	b.wantCurrent(direct)
	if !b.RelayNeeded(b.now) {
		t.Error("the relay is given up at once")
	}
	b.run(relayLinger)
	if b.RelayNeeded(b.now) {
		t.Error("the relay is kept for ever")
	}
}

func TestSelectorTriesTheDirectPathLessOftenWithTime(t *testing.T) {
	b := newBench(t, true)
	b.SetDirect(b.now, []netip.AddrPort{direct.Addr})
	b.SetRelay(b.now, relay)
	b.established(relay)
	b.sending, b.hearing = true, true
	b.run(10 * time.Minute)
	b.log = nil
	b.run(5 * time.Minute)
	if n := b.count(OpAnnounce); n < 9 || n > 11 {
		t.Errorf("%d attempts in 5 minutes, want one every 30 s", n)
	}
}

func TestSelectorFollowsOnlyAfterAnAnswer(t *testing.T) {
	b := newBench(t, false)
	b.established(direct)
	b.sending, b.hearing = true, true
	b.run(time.Second)
	b.Seen(b.now, moved) // a replayed or redirected packet: the path never answers
	b.collect()
	b.wantCurrent(direct)
	b.run(3 * time.Second)
	b.wantCurrent(direct)
	b.open[moved] = true
	b.Seen(b.now, moved)
	b.collect()
	b.wantCurrent(direct)
	b.run(100 * time.Millisecond)
	b.wantCurrent(moved)
}

func TestSelectorControllingEndKeepsAWorkingPath(t *testing.T) {
	b := newBench(t, true)
	b.established(direct)
	b.open[lan] = true
	b.sending, b.hearing = true, true
	for range 20 {
		b.Seen(b.now, lan)
		b.run(200 * time.Millisecond)
	}
	b.wantCurrent(direct)
	b.run(time.Second)
	b.open[direct] = false // the peer's mapping has changed
	b.Seen(b.now, lan)
	b.run(300 * time.Millisecond)
	b.wantCurrent(lan)
}

func TestSelectorDoesNotTakeTheRelaysAnswerForTheCurrentPaths(t *testing.T) {
	b := newBench(t, true)
	b.SetRelay(b.now, relay)
	b.established(direct)
	b.open[relay] = true
	b.sending, b.hearing = true, true
	b.run(time.Second)
	b.open[direct] = false
	b.run(2 * time.Second)
	b.wantCurrent(relay)
}

func TestSelectorFindsTheOldPathAgain(t *testing.T) {
	b := newBench(t, true)
	b.established(direct)
	b.sending, b.hearing = true, true
	b.run(time.Second)
	b.open[direct] = false
	b.run(2500 * time.Millisecond)
	if !b.Dead() {
		t.Fatal("not dead after 2.5 s")
	}
	b.open[direct] = true
	b.run(600 * time.Millisecond)
	if b.Dead() {
		t.Fatal("still dead although the path answers")
	}
	b.wantCurrent(direct)
	if b.count(OpUse) != 0 {
		t.Errorf("changed to the path in use: %v", b.log)
	}
}

func TestSelectorAsksForANewSessionWhenNothingAnswers(t *testing.T) {
	b := newBench(t, true)
	b.established(direct)
	b.SetRelay(b.now, relay)
	b.sending, b.hearing = true, true
	b.run(time.Second)
	b.open = map[Path]bool{}
	b.run(2 * time.Second)
	if b.count(OpRestart) != 0 {
		t.Fatal("restart before RestartAfter")
	}
	b.run(4 * time.Second)
	if b.count(OpRestart) != 1 {
		t.Fatalf("%d restarts, want 1", b.count(OpRestart))
	}
}

func TestSelectorChangesToANewRelayAfterItAnswered(t *testing.T) {
	b := newBench(t, true)
	b.SetRelay(b.now, relay)
	b.established(relay)
	b.sending, b.hearing = true, true
	b.run(time.Second)
	b.SetRelay(b.now, relay2)
	b.collect()
	b.wantCurrent(relay)
	b.open[relay2] = true
	b.SetRelay(b.now, Path{})
	b.SetRelay(b.now, relay2)
	b.run(100 * time.Millisecond)
	b.wantCurrent(relay2)
	b.log = nil
	b.Seen(b.now, relay) // a late packet by the old one
	b.run(time.Second)
	b.wantCurrent(relay2)
	if b.count(OpUse) != 0 || b.count(OpProbe) != 0 {
		t.Errorf("went back to the old relay, or asks there: %v", b.log)
	}
}

// The peer binds the new relay later than this end, and the first probes are lost: they are repeated, while packets
// stay where they arrive.
func TestSelectorAsksOnTheNewRelayUntilItWorks(t *testing.T) {
	b := newBench(t, true)
	b.SetRelay(b.now, relay)
	b.established(relay)
	b.sending, b.hearing = true, true
	b.run(time.Second)
	b.log = nil
	b.SetRelay(b.now, relay2)
	b.run(time.Second)
	b.wantCurrent(relay)
	b.open[relay2] = true
	b.run(time.Second)
	b.wantCurrent(relay2)
	b.log = nil
	b.run(10 * time.Second)
	if n := b.count(OpProbe); n != 0 {
		t.Errorf("%d probes after the move", n)
	}

	b.open[relay] = false
	b.SetRelay(b.now, relay) // one that never works
	b.run(time.Minute)
	b.wantCurrent(relay2)
	if n := b.count(OpProbe); n > 20 {
		t.Errorf("%d probes of a relay that does not work in a minute", n)
	}
}

func TestSelectorReplacesAPathThatIsGone(t *testing.T) {
	b := newBench(t, true)
	b.Replace(b.now)
	b.SetRelay(b.now, relay)
	b.established(relay)
	b.traffic.RxPackets = 7
	b.sending, b.hearing = true, true
	b.run(time.Second)
	b.Replace(b.now)
	b.wantCurrent(relay)
	b.traffic.RxPackets = 8
	b.run(500 * time.Millisecond)
	b.open[relay], b.hearing = false, false
	b.run(time.Second)
	if b.count(OpRelayCheck) != 1 {
		t.Errorf("%d questions to the TRS, want 1: %v", b.count(OpRelayCheck), b.log)
	}
	b.SetRelay(b.now, relay2)
	b.Replace(b.now)
	b.collect()
	b.wantCurrent(relay2)
	b.run(3 * time.Second)
	if !b.Dead() {
		t.Error("a relay without the peer is believed to work")
	}
	b.open[relay2] = true
	b.run(time.Second)
	if b.Dead() {
		t.Error("still dead although the peer is there")
	}
}

// A sender that never hears users of the peer does not ask the TRS all the time.
func TestSelectorAsksTheTRSOnlyWhenAConversationStops(t *testing.T) {
	b := newBench(t, true)
	b.SetRelay(b.now, relay)
	b.established(relay)
	b.sending = true
	b.run(30 * time.Second)
	if n := b.count(OpRelayCheck); n > 1 {
		t.Errorf("%d questions to the TRS in 30 s of one-way traffic", n)
	}
}

func TestSelectorChecksAPathInDoubtAtOnce(t *testing.T) {
	b := newBench(t, true)
	b.established(direct)
	b.Doubt(b.now)
	b.collect()
	if b.count(OpProbe) != 1 || b.Failing() {
		t.Errorf("%v, failing %v", b.log, b.Failing())
	}
	b.run(time.Second)
	if b.Failing() || b.Dead() {
		t.Error("a path that answers is failing")
	}
	b.open[direct] = false
	b.Doubt(b.now)
	b.run(700 * time.Millisecond)
	if !b.Failing() {
		t.Error("a path that does not answer is not failing")
	}
}

func TestSelectorRefusesForeignReplies(t *testing.T) {
	b := newBench(t, true)
	b.established(direct)
	b.run(25 * time.Second) // one idle check
	i := slices.IndexFunc(b.log, func(l logged) bool { return l.Op == OpProbe })
	if i < 0 {
		t.Fatal("no probe")
	}
	if b.Replied(b.now, direct, b.log[i].ID) {
		t.Error("a reply is taken twice")
	}
	if b.Replied(b.now, direct, 4711) {
		t.Error("a reply without probe is taken")
	}
	b.Seen(b.now, moved)
	a := b.Actions()[0]
	if b.Replied(b.now, direct, a.ID) {
		t.Error("a reply that came another way is taken")
	}
}

func TestSelectorTablesStayBounded(t *testing.T) {
	b := newBench(t, false)
	b.established(direct)
	for i := range 10_000 {
		b.Seen(b.now, Path{Addr: netip.AddrPortFrom(direct.Addr.Addr(), uint16(i+1))})
	}
	if len(b.known) > maxKnown || len(b.probes) > maxProbes {
		t.Errorf("%d paths and %d probes are kept", len(b.known), len(b.probes))
	}
}

func TestSelectorAddressChangeChecksAndAnnounces(t *testing.T) {
	b := newBench(t, true)
	b.established(direct)
	b.sending, b.hearing = true, true
	b.run(time.Second)
	b.AddressChanged(b.now)
	b.collect()
	if b.count(OpProbe) != 1 || b.count(OpAnnounce) != 1 || b.count(OpRelay) != 1 {
		t.Errorf("got %v, want a probe, an announcement and the request for a relay", b.log)
	}
}

func TestSelectorKnowsTheRoundTripOfThePathItChangesTo(t *testing.T) {
	b := newBench(t, true)
	b.open[direct], b.open[relay] = true, true
	b.sending, b.hearing = true, true
	b.SetRelay(b.now, relay)
	b.Established(b.now, direct)
	b.run(2 * time.Second)
	b.open[direct] = false
	b.run(3 * time.Second)
	if b.Current() != relay || b.RTT() < b.rtt || b.RTT() > 2*b.rtt {
		t.Fatalf("path %v with RTT %v, want %v with about %v", b.Current(), b.RTT(), relay, b.rtt)
	}
}
