package wire

// Sizes of ML-KEM-768 (FIPS 203, table 3) in bytes.
const (
	KEMKeySize        = 1184
	KEMCiphertextSize = 1088
)

// KEMKey is the initiator's ML-KEM-768 encapsulation key, in its first transport message.
//
//	0  kind 1
//	1  encapsulation key 1184
type KEMKey struct{ Key [KEMKeySize]byte }

// AppendControl writes the message.
func (m *KEMKey) AppendControl(dst []byte) []byte {
	return append(append(dst, byte(controlKEMKey)), m.Key[:]...)
}

func parseKEMKey(r *reader) *KEMKey {
	m := new(KEMKey)
	r.copyTo(m.Key[:])
	return m
}

// KEMCiphertext is the responder's answer, in its first transport message.
//
//	0  kind 2
//	1  ciphertext 1088
type KEMCiphertext struct{ Ciphertext [KEMCiphertextSize]byte }

// AppendControl writes the message.
func (m *KEMCiphertext) AppendControl(dst []byte) []byte {
	return append(append(dst, byte(controlKEMCiphertext)), m.Ciphertext[:]...)
}

func parseKEMCiphertext(r *reader) *KEMCiphertext {
	m := new(KEMCiphertext)
	r.copyTo(m.Ciphertext[:])
	return m
}
