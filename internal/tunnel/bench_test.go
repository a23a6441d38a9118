package tunnel

import (
	"crypto/rand"
	"testing"
)

func BenchmarkHandshake(b *testing.B) {
	a := newAuthority(b)
	from, to := a.node(b, "viewer"), a.node(b, "cam1")
	b.ReportAllocs()
	for b.Loop() {
		mustConnect(b, from, to)
	}
}

func benchmarkCipher(b *testing.B, f func(b *testing.B, ours, theirs *Session)) {
	for _, c := range []Cipher{CipherAES256GCM, CipherChaCha20Poly1305} {
		b.Run(c.String(), func(b *testing.B) {
			a := newAuthority(b)
			from, to := a.node(b, "viewer"), a.node(b, "cam1")
			from.Ciphers, to.Ciphers = []Cipher{c}, []Cipher{c}
			ours, theirs := mustConnect(b, from, to)
			b.ReportAllocs()
			b.SetBytes(1400)
			f(b, ours, theirs)
		})
	}
}

func BenchmarkSeal1400(b *testing.B) {
	benchmarkCipher(b, func(b *testing.B, ours, _ *Session) {
		packet, out := make([]byte, 1400), make([]byte, 0, 1500)
		var counter uint64
		for b.Loop() {
			out = ours.Seal(out[:0], 0, counter, packet)
			counter++
		}
	})
}

func BenchmarkOpen1400(b *testing.B) {
	benchmarkCipher(b, func(b *testing.B, ours, theirs *Session) {
		datagram, out := ours.Seal(nil, 0, 0, make([]byte, 1400)), make([]byte, 0, 1500)
		for b.Loop() {
			if _, err := theirs.Open(out, datagram); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReplayWindow(b *testing.B) {
	s := newSession(1, 2, nil, true, CipherChaCha20Poly1305, nil, nil)
	b.ReportAllocs()
	var counter uint64
	for b.Loop() {
		s.Accept(counter)
		counter++
	}
}

func BenchmarkCheckMAC1AndMAC2(b *testing.B) {
	a := newAuthority(b)
	from, to := a.node(b, "viewer"), a.node(b, "cam1")
	guard, err := NewCookieGuard(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	init := mustInitiate(b, from, to).Message()
	static := to.Key.Public().Static
	b.ReportAllocs()
	for b.Loop() {
		guard.CheckMAC1(static, init)
		guard.CheckMAC2(init, testSrc, testNow)
	}
}
