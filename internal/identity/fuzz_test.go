package identity

import (
	"bytes"
	"crypto/rand"
	"testing"
)

func FuzzCertificate(f *testing.F) {
	a := newAuthority(f)
	good := must(a.issuer.Issue(template(mustKey(f).Public())))(f).Raw()
	v := a.verifier(f)
	f.Add(good)
	f.Add(good[:90])
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCertificate(b)
		if err == nil {
			if !bytes.Equal(c.Raw(), b) {
				t.Fatal("Raw differs")
			}
			body, err := c.encode()
			if err != nil || !bytes.Equal(append(body, c.Signature[:]...), b) {
				t.Fatalf("accepted %x, encoded %x, %v", b, body, err)
			}
		}
		if _, err := v.Verify(b, testNow); err == nil && !bytes.Equal(b, good) {
			t.Fatalf("%x verifies", b)
		}
	})
}

func FuzzIssuerCertificate(f *testing.F) {
	f.Add(newAuthority(f).issuer.Certificate().Raw())
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseIssuerCertificate(b); err == nil && !bytes.Equal(c.Raw(), b) {
			t.Fatalf("accepted %x, encoded %x", b, c.Raw())
		}
	})
}

// FuzzOpenedToken feeds the plaintexts, which only a holder of the keys can make.
func FuzzOpenedToken(f *testing.F) {
	ring := testRing(1)
	for _, b := range [][]byte{
		must(SealTicket(rand.Reader, ring, sampleTicket()))(f),
		must(SealRelayToken(rand.Reader, ring, sampleRelayToken()))(f),
	} {
		for _, label := range []string{ticketLabel, relayTokenLabel} {
			if plaintext, err := ring.open(label, b, 512); err == nil {
				f.Add(plaintext)
			}
		}
	}
	f.Fuzz(func(t *testing.T, plaintext []byte) {
		if b, err := ring.seal(rand.Reader, ticketLabel, plaintext, 512); err == nil {
			_, _ = OpenTicket(ring, b, testNow)
		}
		if b, err := ring.seal(rand.Reader, relayTokenLabel, plaintext, 192); err == nil {
			_, _ = OpenRelayToken(ring, b, testNow)
		}
	})
}

func FuzzTicket(f *testing.F) {
	ring := testRing(1)
	good := must(SealTicket(rand.Reader, ring, sampleTicket()))(f)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := OpenTicket(ring, b, testNow); err == nil && !bytes.Equal(b, good) {
			t.Fatalf("%x opens", b)
		}
	})
}

func FuzzRelayToken(f *testing.F) {
	ring := testRing(1)
	good := must(SealRelayToken(rand.Reader, ring, sampleRelayToken()))(f)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := OpenRelayToken(ring, b, testNow); err == nil && !bytes.Equal(b, good) {
			t.Fatalf("%x opens", b)
		}
	})
}

func FuzzAccessToken(f *testing.F) {
	ring := testRing(1)
	good := must(SealAccessToken(rand.Reader, ring, AccessClaims{Kind: "Adapter", Name: "gw1", NotAfter: testNow}))(f)
	f.Add(good)
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := OpenAccessToken(ring, s, testNow); err == nil && s != good {
			t.Fatalf("%q opens", s)
		}
	})
}

func FuzzSignal(f *testing.F) {
	k := NewSignalKeys([32]byte{1})
	f.Add(k.SealSignal(nil, 1, 2, [16]byte{}, []byte("ticket"), []byte("body")))
	f.Add(k.SealReply(nil, 1, [24]byte{}, []byte("body")))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = k.OpenSignal(b)
		_, _, _ = k.OpenReply(b)
	})
}

func FuzzPEM(f *testing.F) {
	a := newAuthority(f)
	f.Add(mustKey(f).EncodePEM())
	f.Add(a.root.EncodePEM())
	f.Add(EncodeIssuerKey(a.issuer.key))
	f.Add(a.issuer.Certificate().EncodePEM())
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseDeviceKey(b); err == nil {
			again, err := ParseDeviceKey(k.EncodePEM())
			if err != nil || again.Public() != k.Public() {
				t.Fatalf("%v", err)
			}
		}
		_, _ = ParseRootKey(b)
		_, _ = ParseIssuerKey(b)
		_, _ = ParseIssuerCertificatePEM(b)
	})
}

func FuzzTrust(f *testing.F) {
	a := newAuthority(f)
	trust := a.trust()
	trust.TLSCA = []byte(testCA)
	f.Add(must(EncodeTrust(trust))(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := ParseTrust(b); err == nil && len(got.Roots) == 0 {
			t.Fatal("no root")
		}
	})
}

func FuzzPHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err == nil && (p.memoryKiB > maxArgonMemoryKiB || p.time > maxArgonTime || p.lanes > maxArgonLanes || p.time == 0 || p.lanes == 0) {
			t.Fatalf("%+v", p)
		}
	})
}

func FuzzNodeID(f *testing.F) {
	f.Add(NodeID{1}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseNodeID(s); err == nil && id.String() != s {
			t.Fatalf("%q is %s", s, id)
		}
	})
}
