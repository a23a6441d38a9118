package identity

import (
	"crypto/rand"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/internal/wire"
)

func sampleTicket() Ticket {
	return Ticket{
		NodeID: NodeID{1, 2}, Kind: wire.SubjectGeneralNode, UID: "0190a1b2-0000-7000-8000-000000000001",
		Name: "cam1", Network: "home", FQDN: "cam1.example.internal", VirtualIPv4: netip.MustParseAddr("100.80.0.5"),
		VirtualIPv6: netip.MustParseAddr("fd00:80::5"), Assurance: AssuranceMAC, SessionKey: [32]byte{9}, NotAfter: testNow.Add(time.Hour),
	}
}

func sampleRelayToken() RelayToken {
	return RelayToken{
		Session: [16]byte{1}, Side: 1, BindKey: [32]byte{2}, Network: "home",
		NotAfter: testNow.Add(time.Hour), BytesPerSecond: 1e6,
	}
}

func TestTicketRoundTrip(t *testing.T) {
	ring := testRing(1)
	name := rapid.StringOfN(rapid.RuneFrom([]rune("abc09-.")), 1, 60, -1)
	rapid.Check(t, func(r *rapid.T) {
		want := sampleTicket()
		want.Name, want.FQDN, want.Network = name.Draw(r, "name"), name.Draw(r, "FQDN"), name.Draw(r, "network")
		want.Assurance = Assurance(rapid.Uint8Range(0, 4).Draw(r, "assurance"))
		if rapid.Bool().Draw(r, "without IPv6") {
			want.VirtualIPv6 = netip.Addr{}
		}
		b, err := SealTicket(rand.Reader, ring, want)
		if err != nil || len(b) > wire.MaxTicket {
			r.Fatalf("%d bytes, %v", len(b), err)
		}
		got, err := OpenTicket(ring, b, testNow)
		if err != nil {
			r.Fatal(err)
		}
		// A redacted type hides its fields from cmp's report, not from the comparison.
		if *got != want {
			r.Fatal("ticket differs")
		}
	})
}

func TestRelayTokenRoundTrip(t *testing.T) {
	ring, want := testRing(1), sampleRelayToken()
	b := must(SealRelayToken(rand.Reader, ring, want))(t)
	if got := must(OpenRelayToken(ring, b, testNow))(t); *got != want {
		t.Error("relay token differs")
	}
	if len(b) > wire.MaxRelayToken {
		t.Errorf("%d bytes", len(b))
	}
}

func TestAccessTokenRoundTrip(t *testing.T) {
	ring, want := testRing(1), AccessClaims{Kind: "Adapter", Name: "gw1", UID: "6d1c", NotAfter: testNow.Add(time.Hour)}
	s := must(SealAccessToken(rand.Reader, ring, want))(t)
	if diff := cmp.Diff(want, must(OpenAccessToken(ring, s, testNow))(t)); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(s, AccessTokenPrefix) {
		t.Error(s)
	}
}

func TestNoChangedTokenOpens(t *testing.T) {
	ring := testRing(1)
	flips(must(SealTicket(rand.Reader, ring, sampleTicket()))(t), func(name string, at int, b []byte) {
		if got, err := OpenTicket(ring, b, testNow); err == nil || got != nil {
			t.Errorf("ticket %s at byte %d: opens", name, at)
		}
	})
	flips(must(SealRelayToken(rand.Reader, ring, sampleRelayToken()))(t), func(name string, at int, b []byte) {
		if got, err := OpenRelayToken(ring, b, testNow); err == nil || got != nil {
			t.Errorf("relay token %s at byte %d: opens", name, at)
		}
	})
	s := must(SealAccessToken(rand.Reader, ring, AccessClaims{Kind: "Adapter", Name: "gw1", NotAfter: testNow}))(t)
	flips([]byte(s), func(name string, at int, b []byte) {
		if _, err := OpenAccessToken(ring, string(b), testNow); err == nil {
			t.Errorf("access token %s at byte %d: opens", name, at)
		}
	})
}

func TestTokensEnd(t *testing.T) {
	ring := testRing(1)
	ticket, relay := sampleTicket(), sampleRelayToken()
	b := must(SealTicket(rand.Reader, ring, ticket))(t)
	if _, err := OpenTicket(ring, b, ticket.NotAfter); err != nil {
		t.Errorf("in its last second: %v", err)
	}
	if _, err := OpenTicket(ring, b, ticket.NotAfter.Add(time.Second)); !errors.Is(err, ErrExpired) {
		t.Errorf("ticket: %v", err)
	}
	b = must(SealRelayToken(rand.Reader, ring, relay))(t)
	got, err := OpenRelayToken(ring, b, relay.NotAfter.Add(time.Second))
	if !errors.Is(err, ErrExpired) || got == nil || got.BindKey != relay.BindKey {
		t.Errorf("relay token: %v; a refusal is signed with its bind key", err)
	}
	s := must(SealAccessToken(rand.Reader, ring, AccessClaims{Kind: "Adapter", Name: "gw1", NotAfter: testNow}))(t)
	if _, err := OpenAccessToken(ring, s, testNow.Add(time.Second)); !errors.Is(err, ErrExpired) {
		t.Errorf("access token: %v", err)
	}
}

func TestOneTokenDoesNotStandForAnother(t *testing.T) {
	ring := testRing(1) // the same key for all three, which is not how they are used
	relay := must(SealRelayToken(rand.Reader, ring, sampleRelayToken()))(t)
	if _, err := OpenTicket(ring, relay, testNow); !errors.Is(err, ErrSeal) {
		t.Errorf("relay token as ticket: %v", err)
	}
	ticket := must(SealTicket(rand.Reader, ring, Ticket{NotAfter: testNow}))(t)
	if _, err := OpenRelayToken(ring, ticket, testNow); !errors.Is(err, ErrSeal) {
		t.Errorf("ticket as relay token: %v", err)
	}
}

func TestKeyringRotation(t *testing.T) {
	old := testRing(1)
	b := must(SealTicket(rand.Reader, old, sampleTicket()))(t)
	rotated := testRing(2)
	if _, err := OpenTicket(rotated, b, testNow); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("without the old key: %v", err)
	}
	rotated.Previous = []SealingKey{old.Current}
	if _, err := OpenTicket(rotated, b, testNow); err != nil {
		t.Errorf("with the old key: %v", err)
	}
	forged := testRing(1)
	if _, err := OpenTicket(forged, b, testNow); !errors.Is(err, ErrSeal) {
		t.Errorf("another key of the same id: %v", err)
	}
}

func TestTokensThatDoNotFitAreRefused(t *testing.T) {
	ring, long := testRing(1), strings.Repeat("x", 253)
	ticket, relay := sampleTicket(), sampleRelayToken()
	ticket.Name, ticket.FQDN = long, long
	if _, err := SealTicket(rand.Reader, ring, ticket); !errors.Is(err, ErrTooLong) {
		t.Errorf("ticket: %v", err)
	}
	relay.Network = long
	if _, err := SealRelayToken(rand.Reader, ring, relay); !errors.Is(err, ErrTooLong) {
		t.Errorf("relay token: %v", err)
	}
	if _, err := SealRelayToken(rand.Reader, ring, RelayToken{Side: 2}); !errors.Is(err, ErrMalformed) {
		t.Errorf("side 2: %v", err)
	}
	if _, err := SealAccessToken(rand.Reader, ring, AccessClaims{Kind: long, Name: long}); !errors.Is(err, ErrTooLong) {
		t.Errorf("access token: %v", err)
	}
	if _, err := SealTicket(iotest.ErrReader(io.ErrNoProgress), ring, sampleTicket()); err == nil {
		t.Error("sealed without randomness")
	}
}

func TestOpaqueTokens(t *testing.T) {
	secret, hash, err := NewOpaqueToken(rand.Reader, EnrollmentTokenPrefix)
	if err != nil {
		t.Fatal(err)
	}
	other, _, _ := NewOpaqueToken(rand.Reader, EnrollmentTokenPrefix)
	if !strings.HasPrefix(secret, "cye1.") || len(secret) != 5+43 || secret == other {
		t.Errorf("%s, %s", secret, other)
	}
	if hash != HashOpaqueToken(secret) || len(hash) != 64 || strings.Contains(secret, hash) {
		t.Error(hash)
	}
}

func TestPasswords(t *testing.T) {
	phc := must(HashPassword(rand.Reader, "correct horse"))(t)
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Error(phc)
	}
	for password, want := range map[string]bool{"correct horse": true, "correct horsf": false, "": false, strings.Repeat("x", 600): false} {
		if got, err := VerifyPassword(phc, password); got != want || err != nil {
			t.Errorf("%.20q: %v, %v", password, got, err)
		}
	}
	if again := must(HashPassword(rand.Reader, "correct horse"))(t); again == phc {
		t.Error("the salt is the same")
	}
	if _, err := HashPassword(rand.Reader, ""); err == nil {
		t.Error("an empty password is hashed")
	}
}

// TestPasswordVector is the argon2id vector of the reference implementation's test suite
// (t=2, m=65536, p=1, password "password", salt "somesalt").
func TestPasswordVector(t *testing.T) {
	const phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := VerifyPassword(phc, "password"); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestPasswordHashesThatAreRefused(t *testing.T) {
	const salt, hash = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, row := range []struct{ name, phc string }{
		{"empty", ""},
		{"clear text", "password"},
		{"argon2i", "$argon2i$v=19$m=65536,t=2,p=1$" + salt + "$" + hash},
		{"version 16", "$argon2id$v=16$m=65536,t=2,p=1$" + salt + "$" + hash},
		{"memory beyond the bound", "$argon2id$v=19$m=262145,t=2,p=1$" + salt + "$" + hash},
		{"memory below eight blocks a lane", "$argon2id$v=19$m=15,t=2,p=2$" + salt + "$" + hash},
		{"time beyond the bound", "$argon2id$v=19$m=65536,t=17,p=1$" + salt + "$" + hash},
		{"no time", "$argon2id$v=19$m=65536,t=0,p=1$" + salt + "$" + hash},
		{"negative", "$argon2id$v=19$m=65536,t=-1,p=1$" + salt + "$" + hash},
		{"leading zero", "$argon2id$v=19$m=065536,t=2,p=1$" + salt + "$" + hash},
		{"too large a number", "$argon2id$v=19$m=99999999999999999999,t=2,p=1$" + salt + "$" + hash},
		{"another order", "$argon2id$v=19$t=2,m=65536,p=1$" + salt + "$" + hash},
		{"key id", "$argon2id$v=19$m=65536,t=2,p=1,keyid=a$" + salt + "$" + hash},
		{"short salt", "$argon2id$v=19$m=65536,t=2,p=1$c29t$" + hash},
		{"no hash", "$argon2id$v=19$m=65536,t=2,p=1$" + salt},
		{"short hash", "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + salt},
		{"padding", "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "=$" + hash},
		{"newline", "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "\n$" + hash},
		{"too long", "$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + strings.Repeat("A", 256)},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := CheckPasswordHash(row.phc); !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v", err)
			}
			if ok, err := VerifyPassword(row.phc, "password"); ok || !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v, %v", ok, err)
			}
		})
	}
}
