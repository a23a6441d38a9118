package tunnel

import (
	"bytes"
	"testing"
)

func FuzzNewResponder(f *testing.F) {
	a := newAuthority(f)
	from, to := a.node(f, "viewer"), a.node(f, "cam1")
	init := mustInitiate(f, from, to).Message()
	f.Add(init)
	f.Add(init[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		// MAC1 is not secret: with the right one the fuzzer reaches what is behind it.
		for _, repair := range []bool{false, true} {
			in := bytes.Clone(b)
			if repair {
				setMAC1(in, to.Key.Public().Static)
			}
			r, response, err := NewResponder(to, 1, in)
			if (err == nil) != (r != nil) || err != nil && response != nil {
				t.Fatalf("%v, %v, %x", err, r, response)
			}
			if err == nil && len(response) > len(in) {
				t.Fatalf("%d bytes answered with %d", len(in), len(response))
			}
		}
	})
}

func FuzzInitiatorResponse(f *testing.F) {
	a := newAuthority(f)
	from, to := a.node(f, "viewer"), a.node(f, "cam1")
	i := mustInitiate(f, from, to)
	_, response := mustRespond(f, to, i.Message())
	f.Add(response[:200])
	f.Add(bytes.Repeat([]byte{0x20}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		setMAC1(b, from.Key.Public().Static)
		if _, err := i.Response(b); err == nil && !bytes.Equal(b, response) {
			t.Fatalf("%x is taken", b)
		}
		_ = i.CookieReply(b)
	})
}

func FuzzOpen(f *testing.F) {
	a := newAuthority(f)
	ours, theirs := mustConnect(f, a.node(f, "viewer"), a.node(f, "cam1"))
	genuine := ours.Seal(nil, 0, 1, []byte("packet"))
	f.Add(genuine)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := theirs.Open(nil, b); err == nil && !bytes.Equal(b, genuine) {
			t.Fatalf("%x opens", b)
		}
	})
}

func FuzzHandshakeData(f *testing.F) {
	a := newAuthority(f)
	from, to := a.node(f, "viewer"), a.node(f, "cam1")
	i := mustInitiate(f, from, to)
	r, response := mustRespond(f, to, i.Message())
	kem, err := i.Response(response)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(kem[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := r.Complete(b); err == nil && !bytes.Equal(b, kem) {
			t.Fatalf("%x is taken", b)
		}
		if _, err := i.Complete(b); err == nil {
			t.Fatalf("%x is taken", b)
		}
	})
}
