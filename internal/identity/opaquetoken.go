package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
)

// Prefixes of opaque tokens, so that people and scanners for leaked secrets can tell them apart.
const (
	EnrollmentTokenPrefix = "cye1."
	AdminTokenPrefix      = "cym1."
	APITokenPrefix        = "cyt1."
)

const opaqueTokenBytes = 32

// NewOpaqueToken returns 256 random bits as text behind prefix, and their hash, which is what is kept.
func NewOpaqueToken(rand io.Reader, prefix string) (secret, hash string, err error) {
	var b [opaqueTokenBytes]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", "", fmt.Errorf("identity: read randomness for a token: %w", err)
	}
	secret = prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return secret, HashOpaqueToken(secret), nil
}

// HashOpaqueToken returns SHA-256 of the token's text as 64 lower-case hexadecimal digits. A fast hash
// suffices because the token has 256 bits of its own; looking a hash up needs no constant time.
func HashOpaqueToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
