package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/cyphonic/cyphonic/internal/identity"
)

// ErrAdminTokenHash says that the hash of the administrator's token is not one that may be used.
var ErrAdminTokenHash = errors.New("unusable admin token hash (make one with `cyphonicctl init`)")

// CheckAdminTokenHash refuses a hash that is empty, malformed, constant, or that of a word that stands in examples.
func CheckAdminTokenHash(hash string) error {
	raw, err := hex.DecodeString(hash)
	switch {
	case hash == "":
		return fmt.Errorf("%w: it is empty", ErrAdminTokenHash)
	case err != nil || len(raw) != sha256.Size || strings.ToLower(hash) != hash:
		return fmt.Errorf("%w: it is not 64 lower-case hex digits", ErrAdminTokenHash)
	case strings.Count(hash, hash[:1]) == len(hash):
		return fmt.Errorf("%w: it is a placeholder", ErrAdminTokenHash)
	}
	for _, word := range []string{
		"", "admin", "administrator", "changeme", "change-me", "cyphonic", "default", "demo", "example", "password",
		"root", "sample", "secret", "test", "token", identity.AdminTokenPrefix,
	} {
		for _, text := range []string{word, word + "\n"} {
			if subtle.ConstantTimeCompare([]byte(identity.HashOpaqueToken(text)), []byte(hash)) == 1 {
				return fmt.Errorf("%w: it is that of the sample token %q", ErrAdminTokenHash, word)
			}
		}
	}
	return nil
}

// isAdministrator compares in constant time, and hashes, so that neither time nor length says anything about the token.
func (a *Access) isAdministrator(token string) bool {
	return subtle.ConstantTimeCompare([]byte(identity.HashOpaqueToken(token)), a.admin) == 1
}
