package trs

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// leave begins to leave and lets the time pass until sides are told.
func (w *world) leave() {
	w.core.Leave(w.now)
	w.now = w.now.Add(leaveSettle)
}

// noticeOf demands a notice to c about its latest bind.
func (c *client) noticeOf(d Datagram) {
	c.w.t.Helper()
	m, err := wire.ParseRelayError(d.Data)
	if err != nil || m.Code != wire.RelayErrorLeaving || m.Nonce != c.nonce || d.To != c.src || !wire.VerifyRelay(d.Data, c.token.BindKey) {
		c.w.t.Errorf("told %+v %v at %v, want leaving for nonce %d at %v", m, err, d.To, c.nonce, c.src)
	}
}

func TestBoundSidesAreToldThatTheRelayLeaves(t *testing.T) {
	w := newWorld(t, nil)
	a, b := boundPair(w)
	if out := w.core.Notices(w.now, nil); len(out) != 0 {
		t.Fatalf("told %v before leaving", out)
	}
	w.core.Leave(w.now)
	if out := w.core.Notices(w.now.Add(leaveSettle-1), nil); len(out) != 0 {
		t.Errorf("told %v before others can know", out)
	}
	w.leave()
	told := 0
	for range 10 * time.Second / noticeInterval {
		for _, d := range w.core.Notices(w.now, nil) {
			if told++; d.To == a.src {
				a.noticeOf(d)
			} else {
				b.noticeOf(d)
			}
		}
		w.now = w.now.Add(noticeInterval)
	}
	if told != 2*noticesLeast {
		t.Errorf("%d notices in 10 s without traffic, want %d", told, 2*noticesLeast)
	}
	a.passes(b) // somebody has not moved
	if out := w.core.Notices(w.now, nil); len(out) != 2 {
		t.Errorf("told %v after traffic", out)
	}
	b.passes(a)
}

// A device that refreshes, or comes only now, is bound and told.
func TestABindIsAnsweredAndTold(t *testing.T) {
	w := newWorld(t, nil)
	a, b := boundPair(w)
	late := w.client(2, 0, "198.51.100.9:4000")
	late.cookie = w.core.cookies.make(&late.token, late.src, w.now)
	w.leave()
	for _, c := range []*client{a, b, late} {
		request := c.bindDatagram()
		out := w.handle(c.src, request)
		if len(out) != 2 {
			t.Fatalf("a bind is answered with %v", out)
		}
		if bound, err := wire.ParseRelayBound(out[0].Data); err != nil || bound.Nonce != c.nonce {
			t.Errorf("first answer %+v %v", bound, err)
		}
		c.noticeOf(out[1])
		if size := len(out[0].Data) + len(out[1].Data); size > len(request) {
			t.Errorf("%d bytes are answered with %d", len(request), size)
		}
	}
	a.passes(b)
	if out := w.core.Notices(w.now, nil); len(out) != 3 {
		t.Errorf("%d sides are told, want 3", len(out))
	}
}

// Who sends a captured bind again does not change what notices carry.
func TestACapturedRefreshDoesNotSpoilNotices(t *testing.T) {
	w := newWorld(t, nil)
	a, _ := boundPair(w)
	var captured [][]byte
	for range answeredMemory - 1 {
		captured = append(captured, a.bindDatagram())
		w.handle(a.src, captured[len(captured)-1])
	}
	for _, b := range captured {
		w.handle(a.src, b)
	}
	w.leave()
	found := false
	for _, d := range w.core.Notices(w.now, nil) {
		if d.To == a.src {
			found = true
			a.noticeOf(d)
		}
	}
	if !found {
		t.Error("the side is not told")
	}
}

func TestARefusingRelayTakesNoNewSession(t *testing.T) {
	w := newWorld(t, nil)
	a := w.client(1, 0, "198.51.100.5:4000")
	a.bind()
	w.leave()
	w.core.Refuse()
	other := w.client(2, 0, "192.0.2.7:7000")
	other.cookie = w.core.cookies.make(&other.token, other.src, w.now)
	other.refused("a new session", wire.RelayErrorLeaving)
	if len(w.core.sessions) != 1 {
		t.Errorf("%d sessions", len(w.core.sessions))
	}
	b := w.client(1, 1, "203.0.113.6:5000") // the other side of one that there is
	b.bind()
	a.passes(b)
}

func TestResidualCountsTrafficOnly(t *testing.T) {
	w := newWorld(t, nil)
	a, b := boundPair(w)
	w.leave()
	if n := w.core.Residual(w.now); n != 0 {
		t.Errorf("%d residual sessions before any traffic", n)
	}
	w.now = w.now.Add(time.Millisecond)
	a.passes(b)
	left, active := w.core.Left(w.now)
	if left || active != 1 || w.core.Residual(w.now) != 1 {
		t.Errorf("left %v, %d active with traffic", left, active)
	}
	for range 3 * residualAge / noticeRepeat {
		w.now = w.now.Add(noticeRepeat)
		a.bind()
		b.bind()
		w.core.Notices(w.now, nil)
	}
	if left, active := w.core.Left(w.now); !left || active != 0 {
		t.Errorf("left %v, %d active without traffic", left, active)
	}
	late := w.client(2, 0, "192.0.2.7:7000")
	late.cookie = w.core.cookies.make(&late.token, late.src, w.now)
	w.handle(late.src, late.bindDatagram())
	if left, _ := w.core.Left(w.now); left {
		t.Error("left with a session that has not been told")
	}
}

func TestAnEmptyRelayHasLeftSoon(t *testing.T) {
	w := newWorld(t, nil)
	w.core.Leave(w.now)
	if left, _ := w.core.Left(w.now); left {
		t.Error("left although devices may be on their way")
	}
	if left, _ := w.core.Left(w.now.Add(leaveSettle)); !left {
		t.Error("an empty relay does not end")
	}
}

// The sessions of a full table are told one after another, so that the NMS is not
// asked about all of them at once, and all within seconds.
func TestNoticesArePaced(t *testing.T) {
	w := newWorld(t, nil)
	const sessions = 5 * noticeBatch
	for i := range uint32(sessions) {
		var id [16]byte
		binary.BigEndian.PutUint32(id[:], i)
		s := &session{id: id}
		for k := range s.sides {
			s.sides[k] = side{
				session: s, index: uint8(k), lastSeen: w.now, notAfter: w.now.Add(time.Hour),
				addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(k+1)),
			}
		}
		w.core.sessions[id] = s
	}
	w.leave()
	told := make(map[netip.AddrPort]int)
	for range sessions / noticeBatch {
		out := w.core.Notices(w.now, nil)
		if len(out) != 2*noticeBatch {
			t.Fatalf("%d notices at once", len(out))
		}
		for _, d := range out {
			told[d.To]++
		}
		w.now = w.now.Add(noticeInterval)
	}
	if len(told) != 2*sessions {
		t.Errorf("%d sides have been told, want all %d", len(told), 2*sessions)
	}
	for range 10 {
		w.core.Notices(w.now, nil)
		w.now = w.now.Add(noticeInterval)
	}
	for id := range w.core.sessions {
		delete(w.core.sessions, id)
	}
	w.now = w.now.Add(noticeRepeat)
	for range 2 * sessions / noticeBatch {
		if out := w.core.Notices(w.now, nil); len(out) != 0 {
			t.Fatal("a session that has ended is told")
		}
	}
	if len(w.core.untold) != 0 {
		t.Errorf("%d ended sessions are kept", len(w.core.untold))
	}
}
