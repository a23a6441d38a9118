package wire

import "strconv"

// SubjectKind says what kind of device a login is for.
type SubjectKind uint8

// The kinds of subjects.
const (
	SubjectNode        SubjectKind = 1
	SubjectAdapter     SubjectKind = 2
	SubjectGeneralNode SubjectKind = 3
)

// String returns the resource kind's name.
func (k SubjectKind) String() string {
	switch k {
	case SubjectNode:
		return "Node"
	case SubjectAdapter:
		return "Adapter"
	case SubjectGeneralNode:
		return "GeneralNode"
	}
	return "kind_" + strconv.Itoa(int(k))
}

// Subject names the device: the kind and name of its resource.
type Subject struct {
	Kind SubjectKind
	Name string
}

// LoginRequest asks the AS for a certificate and a ticket. Device to AS, over TLS.
//
//	0  type 0x30 | version 1, flags 0
//	2  subject kind u8, 1 to 3
//	3  name length u8, 1 to 253; name
//	   static key 32               X25519 public key of the subject
//	   signing key 32              Ed25519 public key of the subject
//	   proof 64                    Ed25519 signature of the subject over the login context
//	   credential
type LoginRequest struct {
	Subject    Subject
	Static     [32]byte
	Signing    [32]byte
	Proof      [64]byte
	Credential Credential
}

// Append writes the message.
func (m LoginRequest) Append(dst []byte) []byte {
	dst = append(appendHeader(dst, TypeLoginRequest), byte(m.Subject.Kind))
	dst = appendName(dst, m.Subject.Name)
	dst = append(dst, m.Static[:]...)
	dst = append(dst, m.Signing[:]...)
	dst = append(dst, m.Proof[:]...)
	return m.Credential.appendCredential(dst)
}

// ParseLoginRequest decodes a LoginRequest.
func ParseLoginRequest(b []byte) (LoginRequest, error) {
	var m LoginRequest
	r := reader{b: b}
	r.header(TypeLoginRequest)
	m.Subject.Kind = SubjectKind(r.u8())
	if r.err == nil && (m.Subject.Kind < SubjectNode || m.Subject.Kind > SubjectGeneralNode) {
		r.fail(ErrValue)
	}
	if m.Subject.Name = r.name(); r.err == nil && m.Subject.Name == "" {
		r.fail(ErrLength)
	}
	r.copyTo(m.Static[:])
	r.copyTo(m.Signing[:])
	r.copyTo(m.Proof[:])
	m.Credential = parseCredential(&r)
	if err := r.done(); err != nil {
		return LoginRequest{}, err
	}
	return m, nil
}
