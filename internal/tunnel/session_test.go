package tunnel

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/cyphonic/cyphonic/internal/wire"
)

func forEachCipher(t *testing.T, f func(t *testing.T, ours, theirs *Session)) {
	t.Helper()
	for _, c := range []Cipher{CipherAES256GCM, CipherChaCha20Poly1305} {
		t.Run(c.String(), func(t *testing.T) {
			a := newAuthority(t)
			from, to := a.node(t, "viewer"), a.node(t, "cam1")
			from.Ciphers, to.Ciphers = []Cipher{c}, []Cipher{c}
			ours, theirs := mustConnect(t, from, to)
			f(t, ours, theirs)
		})
	}
}

func TestNoChangedDatagramOpens(t *testing.T) {
	forEachCipher(t, func(t *testing.T, ours, theirs *Session) {
		datagram := ours.Seal(nil, 0, 0, []byte("a packet of forty bytes, more or less .."))
		before := theirs.replay
		attack(t, "Data", datagram, func(_ int, b []byte) error {
			got, err := theirs.Open(nil, b)
			if err != nil && got != nil {
				t.Errorf("plaintext beside an error: %x", got)
			}
			return err
		})
		if theirs.replay != before {
			t.Error("a changed datagram has moved the replay window")
		}
		if _, err := theirs.Open(nil, datagram); err != nil || !theirs.Accept(0) {
			t.Errorf("the genuine datagram afterwards: %v", err)
		}
	})
}

func TestOpenNamesTheReason(t *testing.T) {
	forEachCipher(t, func(t *testing.T, ours, theirs *Session) {
		good := func() []byte { return ours.Seal(nil, 0, 7, []byte("x")) }
		late := wire.AppendDataHeader(nil, 0, responderIndex, RejectAfterMessages)
		for _, row := range []struct {
			name     string
			datagram []byte
			want     error
		}{
			{"too short", good()[:wire.DataOverhead-1], wire.ErrShort},
			{"of another index", wire.AppendDataHeader(nil, 0, 5, 1), wire.ErrShort},
			{"of another session", append(wire.AppendDataHeader(nil, 0, 5, 1), make([]byte, 16)...), ErrIndex},
			{"of the handshake", append(wire.AppendDataHeader(nil, 3, responderIndex, 0), make([]byte, 16)...), ErrHandshake},
			{"beyond the last counter", append(late, make([]byte, 16)...), ErrCounter},
			{"of a tag of zeros", append(good()[:wire.DataHeaderSize], make([]byte, 17)...), ErrAuth},
		} {
			t.Run(row.name, func(t *testing.T) {
				if _, err := theirs.Open(nil, row.datagram); !errors.Is(err, row.want) {
					t.Errorf("got %v, want %v", err, row.want)
				}
			})
		}
	})
}

func TestReplayAndReordering(t *testing.T) {
	forEachCipher(t, func(t *testing.T, ours, theirs *Session) {
		first, ok := ours.Reserve(100)
		if !ok || first != 0 {
			t.Fatalf("Reserve: %d, %v", first, ok)
		}
		var datagrams [][]byte
		for c := range uint64(100) {
			datagrams = append(datagrams, ours.Seal(nil, 0, c, []byte{byte(c)}))
		}
		for c := len(datagrams) - 1; c >= 0; c-- {
			got, err := theirs.Open(nil, datagrams[c])
			if err != nil || got[0] != byte(c) || !theirs.Accept(uint64(c)) {
				t.Fatalf("datagram %d in reverse order: %v", c, err)
			}
		}
		for c := range datagrams {
			if theirs.Accept(uint64(c)) {
				t.Fatalf("datagram %d is accepted twice", c)
			}
		}
	})
}

func TestSealAndOpenInPlaceBehindAPrefix(t *testing.T) {
	forEachCipher(t, func(t *testing.T, ours, theirs *Session) {
		buffer := make([]byte, 0, 1500)
		prefix := wire.AppendRelayHeader(buffer, 9)
		at := len(prefix) + wire.DataHeaderSize
		plaintext := buffer[at : at+5]
		copy(plaintext, "hello")
		out := ours.Seal(prefix, wire.FlagControl, 3, plaintext)
		if &out[0] != &buffer[:1][0] || !bytes.Equal(out[:len(prefix)], prefix) {
			t.Fatal("not sealed in the buffer")
		}
		datagram := out[len(prefix):]
		got, err := theirs.Open(datagram[wire.DataHeaderSize:wire.DataHeaderSize], datagram)
		if err != nil || string(got) != "hello" || &got[0] != &datagram[wire.DataHeaderSize] {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

func TestReserveEndsAtTheMessageLimit(t *testing.T) {
	s := newSession(1, 2, nil, true, CipherChaCha20Poly1305, nil, nil)
	s.next.Store(RejectAfterMessages - 10)
	for _, row := range []struct {
		name  string
		n     int
		first uint64
		ok    bool
	}{
		{"none", 0, 0, false},
		{"negative", -1, 0, false},
		{"one too many", 11, 0, false},
		{"most", 9, RejectAfterMessages - 10, true},
		{"two of one left", 2, 0, false},
		{"the last", 1, RejectAfterMessages - 1, true},
		{"one more", 1, 0, false},
	} {
		if first, ok := s.Reserve(row.n); first != row.first || ok != row.ok {
			t.Errorf("%s: got %d, %v", row.name, first, ok)
		}
	}
	if s.Sent() != RejectAfterMessages {
		t.Errorf("Sent is %d", s.Sent())
	}
}

func TestReserveNeverGivesACounterTwice(t *testing.T) {
	s := newSession(1, 2, nil, true, CipherChaCha20Poly1305, nil, nil)
	const workers, rounds = 4, 500
	var mu sync.Mutex
	seen := make(map[uint64]bool)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				first, ok := s.Reserve(3)
				mu.Lock()
				for c := first; c < first+3; c++ {
					if !ok || seen[c] {
						t.Errorf("counter %d: %v, seen %v", c, ok, seen[c])
					}
					seen[c] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != workers*rounds*3 {
		t.Errorf("%d counters", len(seen))
	}
}

func TestErasedSessionDoesNothing(t *testing.T) {
	forEachCipher(t, func(t *testing.T, ours, theirs *Session) {
		datagram := ours.Seal(nil, 0, 0, []byte("x"))
		ours.Erase()
		theirs.Erase()
		if _, ok := ours.Reserve(1); ok {
			t.Error("Reserve")
		}
		if got := ours.Seal([]byte("abc"), 0, 1, []byte("x")); string(got) != "abc" {
			t.Errorf("Seal appends %x", got)
		}
		if _, err := theirs.Open(nil, datagram); !errors.Is(err, ErrErased) {
			t.Errorf("Open: %v", err)
		}
	})
}

func TestSealAndOpenAllocateNothing(t *testing.T) {
	forEachCipher(t, func(t *testing.T, ours, theirs *Session) {
		packet, out, in := make([]byte, 1400), make([]byte, 0, 1500), make([]byte, 0, 1500)
		if n := testing.AllocsPerRun(200, func() {
			c, ok := ours.Reserve(1)
			if !ok {
				t.Fatal("no counter left")
			}
			out = ours.Seal(out[:0], 0, c, packet)
			if _, err := theirs.Open(in, out); err != nil {
				t.Fatal(err)
			}
			if !theirs.Accept(c) {
				t.Fatalf("counter %d", c)
			}
		}); n != 0 {
			t.Errorf("%v allocations for a packet", n)
		}
		bad := bytes.Clone(out)
		bad[20] ^= 1
		if n := testing.AllocsPerRun(200, func() {
			if _, err := theirs.Open(in, bad); err == nil {
				t.Fatal("opens")
			}
		}); n != 0 {
			t.Errorf("%v allocations for a packet that does not open", n)
		}
	})
}
