package nms

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyphonic/cyphonic/services/replica"
)

func sampleRecord(now time.Time) record {
	r := record{
		uid: "uid-cam1", acting: "nms-1", epoch: 7,
		contact: contact{
			subject: &replica.Subject{
				Network: "home", FQDN: "cam1.home.example", Adapter: "gw1",
				IPv4: netip.MustParseAddr("10.64.0.3"), IPv6: netip.MustParseAddr("fd00:64::3"),
			},
			assurance: 1, certificate: []byte{1, 2, 3}, addr: netip.MustParseAddrPort("198.51.100.6:4000"), nated: true,
			candidates: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:5"), netip.MustParseAddrPort("[2001:db8::5]:6")},
			gateway:    "nms-2", tag: 9, echo: 10, policy: 11, lastSeen: now.Add(-2 * time.Second), stamp: stamp{1_800_000_000, 12}, made: stamp{1_800_000_000, 11},
		},
	}
	l := &login{notAfter: time.Unix(1_800_000_000, 0), sessionKey: [32]byte{5}, window: replayWindow{used: true, top: 12, bits: [4]uint64{1, 2, 3, 4}}}
	l.name = loginName(l.sessionKey)
	r.contact.sessionKey = l.sessionKey
	r.logins = []*login{l}
	return r
}

func TestRecordsAndMarksComeBackAsTheyWere(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	want := sampleRecord(now)
	got, err := parseRecord(appendRecord(nil, now, want), now)
	if err != nil {
		t.Fatal(err)
	}
	// What later versions append is ignored.
	if _, err := parseRecord(append(appendRecord(nil, now, want), 1, 2, 3), now); err != nil {
		t.Errorf("with more at the end: %v", err)
	}
	if got.contact.made != want.contact.made {
		t.Errorf("registration %v", got.contact.made)
	}
	if !bytes.Equal(appendRecord(nil, now, got), appendRecord(nil, now, want)) {
		t.Errorf("record %+v", got)
	}
	const registration = 16 // bytes, which the first replicas did not send
	for n := range appendRecord(nil, now, want) {
		short := len(appendRecord(nil, now, want)) - n
		got, err := parseRecord(appendRecord(nil, now, want)[:n], now)
		if (err == nil) != (short == registration) || err == nil && got.contact.made != want.contact.stamp {
			t.Errorf("a record cut to %d bytes: %v, registration %v", n, err, got.contact.made)
		}
	}
	m := mark{uid: "u", gateway: "nms-1", login: [8]byte{1}, counter: 2, echo: 3, policy: 4, lastSeen: now}
	if got, err := parseMark(appendMark(nil, now, m)[linkHeaderSize:], now); err != nil || got != m {
		t.Errorf("mark %+v, %v", got, err)
	}
	f := forwarded{hedged: true, hops: 2, src: netip.MustParseAddrPort("[2001:db8::1]:9"), gateway: "g", data: []byte{1}}
	got2, err := parseForward(appendForward(nil, f)[linkHeaderSize:])
	if diff := cmp.Diff(f, got2, cmp.AllowUnexported(forwarded{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestReplayWindowsAreMerged(t *testing.T) {
	var a, b replayWindow
	for c := uint64(1000); c < 1600; c += 3 {
		a.mark(c)
	}
	for c := uint64(1001); c < 1500; c += 3 {
		b.mark(c)
	}
	for _, row := range []struct {
		name string
		w, o replayWindow
	}{{"older into newer", a, b}, {"newer into older", b, a}, {"into nothing", replayWindow{}, a}} {
		w := row.w
		w.merge(row.o)
		for c := uint64(900); c < 1700; c++ {
			seen := row.w.used && !row.w.fresh(c) || !row.o.fresh(c)
			if seen && w.fresh(c) {
				t.Errorf("%s: %d is fresh again", row.name, c)
			}
			if !seen && !w.fresh(c) && c+replayBits > w.top {
				t.Errorf("%s: %d is refused, and nobody has seen it", row.name, c)
			}
		}
	}
	a.shut(1700)
	if a.fresh(1700) || a.fresh(1699) || !a.fresh(1701) {
		t.Error("a shut window is wrong")
	}
}

// FuzzLinkMessage feeds a core what another replica may send: it must take or refuse it, keep its bounds and live on.
func FuzzLinkMessage(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	record := appendRecord(nil, now, sampleRecord(now))
	f.Add(appendView(nil, 5, false))
	f.Add(appendPing(nil))
	f.Add(appendNumber(nil, linkAck, 3))
	f.Add(appendForward(nil, forwarded{src: netip.MustParseAddrPort("192.0.2.1:1"), gateway: "b", data: make([]byte, 200)}))
	f.Add(appendDeliver(nil, Datagram{netip.MustParseAddrPort("192.0.2.1:1"), append([]byte{0x11, 0x10}, make([]byte, 60)...)}))
	f.Add(end(append(append(begin(nil, linkLocation), 1), record...), 0))
	f.Add(appendMark(nil, now, mark{uid: "uid-cam1"}))
	f.Add(appendFetch(5, true, "uid-cam1"))
	f.Add(end(append(append(begin(nil, linkFound), 0, 0, 0, 0, 0, 0, 0, 6, 1), record...), 0))
	f.Add(appendNumber(nil, linkBarrier, 1))
	f.Add(end(append(append(begin(nil, linkConfirm), 0, 0, 0, 0, 0, 0, 0, 6, 1), record...), 0))
	f.Add([]byte{200, 0, 1, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWorld(t)
		w.core.name = "a"
		w.core.SetMembers(now, Members{Revision: 1, Replicas: []Member{{Name: "a", Ready: true}, {Name: "b", Ready: true}}})
		w.core.LinkUp(now, "b")
		for rest := b; ; {
			message, left, err := NextLinkMessage(rest)
			if err != nil || message == nil {
				break
			}
			w.core.HandleMessage(now, "b", message, nil)
			rest = left
		}
		w.core.Tick(now.Add(time.Second/10), nil)
		if w.core.Messages(nil); len(w.core.locations) > len(b) {
			t.Errorf("%d locations", len(w.core.locations))
		}
	})
}
