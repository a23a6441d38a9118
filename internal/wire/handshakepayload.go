package wire

// InitPayload is the plaintext inside HandshakeInit.
//
//	0  count u8, 1 to 8
//	1  ciphers, one byte each         in the initiator's order of preference
//	   certificate length u16, 1 to 512
//	   certificate
//
// The wire version is not repeated: the first bytes of the message are the handshake's prologue.
type InitPayload struct {
	Ciphers     []uint8
	Certificate []byte
}

// Append writes the payload.
func (p InitPayload) Append(dst []byte) []byte {
	dst = appendVector8(dst, p.Ciphers)
	return appendVector16(dst, p.Certificate)
}

// ParseInitPayload decodes an InitPayload.
func ParseInitPayload(b []byte) (InitPayload, error) {
	r := reader{b: b}
	p := InitPayload{Ciphers: r.vector8(MaxCiphers), Certificate: r.vector16(MaxCertificate)}
	if err := r.done(); err != nil {
		return InitPayload{}, err
	}
	if len(p.Ciphers) == 0 || len(p.Certificate) == 0 {
		return InitPayload{}, ErrLength
	}
	return p, nil
}

// ResponsePayload is the plaintext inside HandshakeResponse.
//
//	0  cipher u8                      one of those offered
//	1  certificate length u16, 1 to 512
//	3  certificate
type ResponsePayload struct {
	Cipher      uint8
	Certificate []byte
}

// Append writes the payload.
func (p ResponsePayload) Append(dst []byte) []byte {
	return appendVector16(append(dst, p.Cipher), p.Certificate)
}

// ParseResponsePayload decodes a ResponsePayload.
func ParseResponsePayload(b []byte) (ResponsePayload, error) {
	r := reader{b: b}
	p := ResponsePayload{Cipher: r.u8(), Certificate: r.vector16(MaxCertificate)}
	if err := r.done(); err != nil {
		return ResponsePayload{}, err
	}
	if len(p.Certificate) == 0 {
		return ResponsePayload{}, ErrLength
	}
	return p, nil
}
