package resolver

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

func TestOneClientCannotTakeAllPlaces(t *testing.T) {
	a := newAdmission()
	greedy, modest := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for n := range maxClientQuestions {
		if !a.enter(greedy) {
			t.Fatalf("question %d is refused", n)
		}
	}
	if a.enter(greedy) {
		t.Error("one client gets more than its share")
	}
	if !a.enter(modest) {
		t.Error("another client gets nothing")
	}
	a.leave(modest)
	for range maxClientQuestions {
		a.leave(greedy)
	}
	if len(a.byClient) != 0 || len(a.slots) != 0 {
		t.Errorf("%d clients and %d places are kept", len(a.byClient), len(a.slots))
	}
	for n := range maxQuestions {
		if !a.enter(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})) {
			t.Fatalf("question %d of as many clients is refused", n)
		}
	}
	if a.enter(modest) {
		t.Error("more questions than there are places")
	}
}

// An answer must show the question; only an error may come without it.
func TestAnswersWithoutTheQuestionAreNotTaken(t *testing.T) {
	query, err := new(dns.Msg).SetQuestion("www.example.net.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply := func(rcode int, answers byte) []byte {
		b := append([]byte(nil), query[:headerSize]...)
		b[2] |= 0x80
		b[3] = byte(rcode)
		b[5], b[7] = 0, answers
		return b
	}
	for _, row := range []struct {
		name  string
		reply []byte
		want  bool
	}{
		{"error", reply(dns.RcodeServerFailure, 0), true},
		{"success", reply(dns.RcodeSuccess, 0), false},
		{"success with an answer", reply(dns.RcodeSuccess, 1), false},
		{"error with an answer", reply(dns.RcodeNameError, 1), false},
	} {
		if got := answers(row.reply, query); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
	class := append([]byte(nil), query...)
	class[2] |= 0x80
	class[len(class)-1] = dns.ClassCHAOS
	if answers(class, query) {
		t.Error("an answer of another class is taken")
	}
}
