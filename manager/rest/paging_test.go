package rest

import (
	"encoding/base64"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestATokenCarriesItsPage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := page{
			revision: rapid.Int64Range(1, 1<<60).Draw(t, "revision"),
			after:    rapid.StringMatching(`[a-z0-9.-]{1,253}`).Draw(t, "after"),
			sent:     rapid.Int64Range(0, 1<<40).Draw(t, "sent"),
			total:    rapid.Int64Range(unknownTotal, 1<<40).Draw(t, "total"),
		}
		scope := rapid.String().Draw(t, "scope")
		token := p.token(scope)
		if len(token) > maxContinueBytes {
			t.Fatalf("a token of %d bytes", len(token))
		}
		got, err := parsePage(scope, token)
		if err != nil || got != p {
			t.Fatalf("%+v became %+v, %v", p, got, err)
		}
		if _, err := parsePage(scope+"x", token); err == nil {
			t.Fatal("the token of another list is accepted")
		}
	})
}

func TestTokensThatTheManagerDidNotMake(t *testing.T) {
	good := page{revision: 7, after: "cam1", total: 3}
	raw, err := base64.RawURLEncoding.DecodeString(good.token("s"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for _, bit := range []byte{1, 0x80} {
			bad := append([]byte(nil), raw...)
			bad[i] ^= bit
			if p, err := parsePage("s", base64.RawURLEncoding.EncodeToString(bad)); err == nil {
				t.Errorf("byte %d changed: %+v", i, p)
			}
		}
	}
	for name, token := range map[string]string{
		"empty": "", "not base64": "%%%", "too short": "AQ", "padded": good.token("s") + "=", "cut": good.token("s")[:20],
		"long": strings.Repeat("A", maxContinueBytes+1), "a path": page{revision: 1, after: "a/b"}.token("s"),
		"no revision": page{after: "a"}.token("s"), "no name": page{revision: 1}.token("s"),
	} {
		if p, err := parsePage("s", token); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func FuzzParsePage(f *testing.F) {
	f.Add(page{revision: 7, after: "cam1", total: 3}.token("s"))
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, token string) {
		if p, err := parsePage("s", token); err == nil && p.token("s") != token {
			t.Errorf("%q was read as %+v, which is %q", token, p, p.token("s"))
		}
	})
}
