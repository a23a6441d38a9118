package probe

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
)

// Content is a file of the given size in bytes whose content depends on nothing but its size's prefix: a longer file
// begins with the shorter one. It does not compress.
func Content(size int64) io.Reader {
	seed := sha256.Sum256([]byte("cyphonic lab content"))
	return io.LimitReader(rand.NewChaCha8(seed), size)
}

// ContentSum is the SHA-256 of Content(size) in hexadecimal, computed without any network.
func ContentSum(size int64) string {
	sum, _, err := Sum(Content(size))
	if err != nil {
		panic("probe: generating content cannot fail: " + err.Error())
	}
	return sum
}

// Sum reads r to its end and returns the SHA-256 in hexadecimal and the number of bytes.
func Sum(r io.Reader) (string, int64, error) {
	hash := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{hash}, r, make([]byte, 128<<10))
	return hex.EncodeToString(hash.Sum(nil)), n, err
}
