package wire

// SignalBody is the plaintext of a Signal or SignalReply: one kind byte, the body's fields, and zero bytes
// of padding. The padding makes a request at least as large as its answer.
type SignalBody interface {
	AppendBody(dst []byte) []byte
}

type bodyKind uint8

const (
	bodyRegistration         bodyKind = 1
	bodyRegistrationAck      bodyKind = 2
	bodyChallenge            bodyKind = 3
	bodyDirectionRequest     bodyKind = 4
	bodyDirectionFailure     bodyKind = 5
	bodyConfirmation         bodyKind = 6
	bodyConfirmationResponse bodyKind = 7
	bodyRouteDirection       bodyKind = 8
	bodyLogout               bodyKind = 9
)

// PadBody appends zero bytes until body has size bytes; a longer body is returned as it is.
func PadBody(body []byte, size int) []byte {
	if n := size - len(body); n > 0 {
		return append(body, make([]byte, n)...)
	}
	return body
}

// ParseSignalBody decodes a body and checks that all that follows it is zero (ErrReserved otherwise).
// The result is a value (not a pointer) of one of the body types.
func ParseSignalBody(b []byte) (SignalBody, error) {
	r := reader{b: b}
	var m SignalBody
	switch bodyKind(r.u8()) {
	case bodyRegistration:
		m = parseRegistration(&r)
	case bodyRegistrationAck:
		m = parseRegistrationAck(&r)
	case bodyChallenge:
		m = parseChallenge(&r)
	case bodyDirectionRequest:
		m = parseDirectionRequest(&r)
	case bodyDirectionFailure:
		m = parseDirectionFailure(&r)
	case bodyConfirmation:
		m = parseConfirmation(&r)
	case bodyConfirmationResponse:
		m = parseConfirmationResponse(&r)
	case bodyRouteDirection:
		m = parseRouteDirection(&r)
	case bodyLogout:
		m = Logout{Echo: r.u64()}
	default:
		r.fail(ErrType)
	}
	if len(b) == 0 {
		return nil, ErrShort
	}
	r.reserved(len(r.b))
	if err := r.done(); err != nil {
		return nil, err
	}
	return m, nil
}
