package identity

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// Cost of a new password hash: 19 MiB, two passes, one lane (RFC 9106 leaves the choice open; this is the
// OWASP minimum, because an AS has to bear many logins at once).
const (
	argonMemoryKiB = 19 * 1024
	argonTime      = 2
	argonLanes     = 1
	argonSalt      = 16
	argonHash      = 32
)

// Bounds of a hash that VerifyPassword is willing to compute: a resource is writable by operators, and
// its cost is paid by the AS.
const (
	maxArgonMemoryKiB = 256 * 1024
	maxArgonTime      = 16
	maxArgonLanes     = 16
	maxPHC            = 256
	minArgonBytes     = 8
	maxArgonBytes     = 64
)

// HashPassword returns an argon2id hash in PHC string form: $argon2id$v=19$m=19456,t=2,p=1$salt$hash.
func HashPassword(rand io.Reader, password string) (string, error) {
	if password == "" || len(password) > wire.MaxPassword {
		return "", fmt.Errorf("%w: a password has 1 to %d bytes", ErrTooLong, wire.MaxPassword)
	}
	var salt [argonSalt]byte
	if _, err := io.ReadFull(rand, salt[:]); err != nil {
		return "", fmt.Errorf("identity: read randomness for a salt: %w", err)
	}
	hash := argon2.IDKey([]byte(password), salt[:], argonTime, argonMemoryKiB, argonLanes, argonHash)
	e := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKiB, argonTime, argonLanes,
		e.EncodeToString(salt[:]), e.EncodeToString(hash)), nil
}

// VerifyPassword compares in constant time. It fails with ErrMalformed if phc is no argon2id hash within bounds.
func VerifyPassword(phc, password string) (bool, error) {
	p, err := parsePHC(phc)
	if err != nil {
		return false, err
	}
	if password == "" || len(password) > wire.MaxPassword {
		return false, nil
	}
	hash := argon2.IDKey([]byte(password), p.salt, p.time, p.memoryKiB, p.lanes, uint32(len(p.hash)))
	return subtle.ConstantTimeCompare(hash, p.hash) == 1, nil
}

// CheckPasswordHash reports whether VerifyPassword would accept phc, without computing anything.
func CheckPasswordHash(phc string) error {
	_, err := parsePHC(phc)
	return err
}

type phcHash struct {
	memoryKiB, time uint32
	lanes           uint8
	salt, hash      []byte
}

func parsePHC(phc string) (phcHash, error) {
	bad := func(what string) (phcHash, error) {
		return phcHash{}, fmt.Errorf("%w: password hash: %s", ErrMalformed, what)
	}
	if len(phc) > maxPHC {
		return bad("too long")
	}
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return bad("want $argon2id$v=19$m=…,t=…,p=…$salt$hash")
	}
	if parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return bad("version is not 19")
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return bad("want m=…,t=…,p=…")
	}
	m, okM := phcNumber(costs[0], "m=", maxArgonMemoryKiB)
	t, okT := phcNumber(costs[1], "t=", maxArgonTime)
	lanes, okP := phcNumber(costs[2], "p=", maxArgonLanes)
	if !okM || !okT || !okP || m < 8*lanes {
		return bad("cost is out of bounds")
	}
	p := phcHash{memoryKiB: m, time: t, lanes: uint8(lanes)}
	var ok bool
	if p.salt, ok = phcBytes(parts[4]); !ok {
		return bad("salt is not 8 to 64 bytes in base64 without padding")
	}
	if p.hash, ok = phcBytes(parts[5]); !ok || len(p.hash) < 16 {
		return bad("hash is not 16 to 64 bytes in base64 without padding")
	}
	return p, nil
}

// phcNumber reads a decimal from 1 to limit without sign or leading zero.
func phcNumber(s, prefix string, limit uint32) (uint32, bool) {
	s, ok := strings.CutPrefix(s, prefix)
	if !ok || s == "" || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 10, 32)
	return uint32(v), err == nil && v <= uint64(limit)
}

func phcBytes(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) >= minArgonBytes && len(b) <= maxArgonBytes
}
