package wire

// Credential is what a subject shows besides the proof of its key: one of CredentialToken,
// CredentialPassword, CredentialDeviceKey and CredentialAdapter, by value.
type Credential interface {
	appendCredential(dst []byte) []byte
}

type credentialKind uint8

const (
	credentialToken     credentialKind = 1
	credentialPassword  credentialKind = 2
	credentialDeviceKey credentialKind = 3
	credentialAdapter   credentialKind = 4
)

// CredentialToken is a one-time enrolment token. The key of the request is enrolled with it.
//
//	0  kind 1
//	1  length u16, 1 to 512; token
type CredentialToken struct{ Token string }

// CredentialPassword is the password of the subject.
//
//	0  kind 2
//	1  length u16, 1 to 512; password
type CredentialPassword struct{ Password string }

// CredentialDeviceKey says that the proof suffices: the key has been enrolled before.
//
//	0  kind 3
type CredentialDeviceKey struct{}

// CredentialAdapter is an adapter vouching for a general node.
//
//	0  kind 4
//	1  name length u8, 1 to 253; adapter name
//	   adapter signing key 32      Ed25519
//	   adapter proof 64            the adapter's signature over the same login context as the subject's
//	   assurance u8                how the adapter authenticated the general node, 1 to 4
type CredentialAdapter struct {
	Adapter   string
	Signing   [32]byte
	Proof     [64]byte
	Assurance uint8
}

func (c CredentialToken) appendCredential(dst []byte) []byte {
	return appendText(append(dst, byte(credentialToken)), c.Token)
}

func (c CredentialPassword) appendCredential(dst []byte) []byte {
	return appendText(append(dst, byte(credentialPassword)), c.Password)
}

func (CredentialDeviceKey) appendCredential(dst []byte) []byte {
	return append(dst, byte(credentialDeviceKey))
}

func (c CredentialAdapter) appendCredential(dst []byte) []byte {
	dst = appendName(append(dst, byte(credentialAdapter)), c.Adapter)
	dst = append(dst, c.Signing[:]...)
	dst = append(dst, c.Proof[:]...)
	return append(dst, c.Assurance)
}

const maxAssurance = 4

func parseCredential(r *reader) Credential {
	switch credentialKind(r.u8()) {
	case credentialToken:
		c := CredentialToken{Token: r.text(MaxToken)}
		if c.Token == "" {
			r.fail(ErrLength)
		}
		return c
	case credentialPassword:
		c := CredentialPassword{Password: r.text(MaxPassword)}
		if c.Password == "" {
			r.fail(ErrLength)
		}
		return c
	case credentialDeviceKey:
		return CredentialDeviceKey{}
	case credentialAdapter:
		c := CredentialAdapter{Adapter: r.name()}
		r.copyTo(c.Signing[:])
		r.copyTo(c.Proof[:])
		c.Assurance = r.u8()
		if r.err == nil && (c.Adapter == "" || c.Assurance == 0 || c.Assurance > maxAssurance) {
			r.fail(ErrValue)
		}
		return c
	}
	r.fail(ErrType)
	return nil
}
