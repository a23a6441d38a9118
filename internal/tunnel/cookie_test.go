package tunnel

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"
)

func TestCookie(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	static := to.Key.Public().Static
	guard, err := NewCookieGuard(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := mustInitiate(t, from, to)
	first := bytes.Clone(i.Message())
	if !guard.CheckMAC1(static, first) || guard.CheckMAC2(first, testSrc, testNow) {
		t.Fatal("the first message has MAC1 and no MAC2")
	}
	reply, err := guard.Reply(static, first, testSrc, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if len(reply) > len(first) {
		t.Errorf("CookieReply has %d bytes, HandshakeInit %d", len(reply), len(first))
	}
	attack(t, "CookieReply", reply, func(_ int, b []byte) error {
		err := i.CookieReply(b)
		if !bytes.Equal(first, i.Message()) {
			t.Error("a changed CookieReply changes the message")
		}
		return err
	})
	if err := i.CookieReply(reply); err != nil {
		t.Fatal(err)
	}
	second := i.Message()
	if !bytes.Equal(first[:len(first)-16], second[:len(second)-16]) {
		t.Error("more than MAC2 has changed")
	}
	for _, row := range []struct {
		name  string
		src   string
		after time.Duration
		want  bool
	}{
		{"at once", "192.0.2.1:4000", 0, true},
		{"IPv4-mapped form of the source", "[::ffff:192.0.2.1]:4000", 0, true},
		{"at the end of its life", "192.0.2.1:4000", CookieLife, true},
		{"too late", "192.0.2.1:4000", 2 * CookieLife, false},
		{"another address", "192.0.2.2:4000", 0, false},
		{"another port", "192.0.2.1:4001", 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := guard.CheckMAC2(second, mustAddrPort(row.src), testNow.Add(row.after)); got != row.want {
				t.Errorf("got %v", got)
			}
		})
	}
	flips(bytes.Clone(second), func(at int, b []byte) {
		if guard.CheckMAC2(b, testSrc, testNow) {
			t.Errorf("byte %d changed, and MAC2 still good", at)
		}
	})
	if other, err := NewCookieGuard(rand.Reader); err != nil || other.CheckMAC2(second, testSrc, testNow) {
		t.Errorf("another guard takes the cookie, %v", err)
	}
	if _, _, err := NewResponder(to, responderIndex, second); err != nil {
		t.Errorf("the message with MAC2 is refused: %v", err)
	}
}

func TestCookieReplyNeedsMAC1(t *testing.T) {
	a := newAuthority(t)
	from, to := a.node(t, "viewer"), a.node(t, "cam1")
	guard, err := NewCookieGuard(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	init := mustInitiate(t, from, to).Message()
	if _, err := guard.Reply(from.Key.Public().Static, init, testSrc, testNow); !errors.Is(err, ErrMAC) {
		t.Errorf("reply to a message for another: %v", err)
	}
	flips(bytes.Clone(init), func(at int, b []byte) {
		if at < len(b)-16 && guard.CheckMAC1(to.Key.Public().Static, b) {
			t.Errorf("byte %d changed, and MAC1 still good", at)
		}
	})
	for n := range init {
		if guard.CheckMAC1(to.Key.Public().Static, init[:n]) || guard.CheckMAC2(init[:n], testSrc, testNow) {
			t.Errorf("cut to %d bytes, and taken", n)
		}
	}
	if _, err := NewCookieGuard(iotest.ErrReader(io.ErrNoProgress)); err == nil {
		t.Error("a guard without randomness")
	}
}
