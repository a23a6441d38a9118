package identity

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cyphonic/cyphonic/internal/wire"
)

func TestSignalsOpenAtTheOtherEnd(t *testing.T) {
	node, service := NewSignalKeys([32]byte{1}), NewSignalKeys([32]byte{1})
	body := wire.PadBody(wire.Logout{Echo: 7}.AppendBody(nil), 60)
	datagram := node.SealSignal([]byte("prefix"), 3, 4, [16]byte{5}, []byte("ticket"), body)[len("prefix"):]
	m := must(wire.ParseSignal(datagram))(t)
	if m.ReceiverTag != 3 || m.Counter != 4 || m.Cookie != [16]byte{5} || string(m.Ticket) != "ticket" {
		t.Errorf("header: %+v", m)
	}
	if got := must(service.OpenSignal(datagram))(t); !bytes.Equal(got, body) {
		t.Errorf("body: %x", got)
	}
	reply := service.SealReply([]byte("prefix"), 3, [24]byte{6}, body)[len("prefix"):]
	nonce, got, err := node.OpenReply(reply)
	if err != nil || nonce != [24]byte{6} || !bytes.Equal(got, body) {
		t.Errorf("reply: %x, %x, %v", nonce, got, err)
	}
}

func TestNoChangedSignalOpens(t *testing.T) {
	k := NewSignalKeys([32]byte{1})
	body := wire.Logout{Echo: 7}.AppendBody(nil)
	flips(k.SealSignal(nil, 3, 4, [16]byte{5}, []byte("ticket"), body), func(name string, at int, b []byte) {
		if got, err := k.OpenSignal(b); err == nil || got != nil {
			t.Errorf("Signal %s at byte %d: opens", name, at)
		}
	})
	flips(k.SealReply(nil, 3, [24]byte{6}, body), func(name string, at int, b []byte) {
		if _, got, err := k.OpenReply(b); err == nil || got != nil {
			t.Errorf("SignalReply %s at byte %d: opens", name, at)
		}
	})
}

func TestSignalKeysAreOfOneSessionAndDirection(t *testing.T) {
	k, other := NewSignalKeys([32]byte{1}), NewSignalKeys([32]byte{2})
	body := wire.Logout{}.AppendBody(nil)
	if _, err := other.OpenSignal(k.SealSignal(nil, 1, 1, [16]byte{}, []byte("t"), body)); !errors.Is(err, ErrSeal) {
		t.Errorf("another session's key: %v", err)
	}
	if bytes.Equal(derive([32]byte{1}, "a"), derive([32]byte{1}, "b")) {
		t.Error("both directions have the same key")
	}
}
