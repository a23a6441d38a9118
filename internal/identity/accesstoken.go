package identity

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

const (
	accessTokenVersion = 1
	accessTokenLabel   = "cyphonic access token v1"
	// AccessTokenPrefix begins every access token, so that scanners for leaked secrets can find it.
	AccessTokenPrefix = "cya1."
)

// AccessClaims is what an access token says: an adapter, that the AS has authenticated, may talk to the
// manager until NotAfter. Sealed with the access keyring (see Keyring), its plaintext is:
//
//	0  version 1
//	1  not after u64                seconds since 1970-01-01 UTC
//	9  kind, name, uid              each length u8
type AccessClaims struct {
	Kind, Name, UID string // of the resource; the UID tells a re-created one apart
	NotAfter        time.Time
}

// SealAccessToken returns the token as text: the prefix and base64url without padding.
func SealAccessToken(rand io.Reader, ring Keyring, c AccessClaims) (string, error) {
	var w writer
	w.u8(accessTokenVersion)
	w.time(c.NotAfter)
	w.string("kind", c.Kind, MaxName)
	w.string("name", c.Name, MaxName)
	w.string("uid", c.UID, MaxName)
	if w.err != nil {
		return "", w.err
	}
	const limit = (wire.MaxToken - len(AccessTokenPrefix)) / 4 * 3
	b, err := ring.seal(rand, accessTokenLabel, w.b, limit)
	if err != nil {
		return "", err
	}
	return AccessTokenPrefix + base64.RawURLEncoding.EncodeToString(b), nil
}

// OpenAccessToken fails with ErrMalformed, ErrUnknownKey, ErrSeal or ErrExpired.
func OpenAccessToken(ring Keyring, s string, now time.Time) (AccessClaims, error) {
	text, ok := strings.CutPrefix(s, AccessTokenPrefix)
	if !ok || len(s) > wire.MaxToken {
		return AccessClaims{}, fmt.Errorf("%w: access token", ErrMalformed)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return AccessClaims{}, fmt.Errorf("%w: access token", ErrMalformed)
	}
	plaintext, err := ring.open(accessTokenLabel, b, wire.MaxToken)
	if err != nil {
		return AccessClaims{}, err
	}
	var c AccessClaims
	r := newReader(plaintext)
	r.version(accessTokenVersion)
	c.NotAfter = r.time()
	c.Kind, c.Name, c.UID = r.string(MaxName), r.string(MaxName), r.string(MaxName)
	if !r.done() {
		return AccessClaims{}, fmt.Errorf("%w: access token", ErrMalformed)
	}
	if now.After(c.NotAfter) {
		return AccessClaims{}, fmt.Errorf("access token of %s: %w", c.Name, ErrExpired)
	}
	return c, nil
}
