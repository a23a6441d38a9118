package wire

// CloseReason says why a peer ends a tunnel. Receivers treat unknown reasons like CloseNormal.
type CloseReason uint8

// The reasons of a Close.
const (
	CloseNormal  CloseReason = 0 // the sender shuts down
	ClosePolicy  CloseReason = 1 // policy does not allow the pair any more
	CloseRevoked CloseReason = 2 // an identity of the pair has been revoked
)

// Close ends the tunnel; the receiver erases the pair's sessions.
//
//	0  kind 7
//	1  reason u8
type Close struct{ Reason CloseReason }

// AppendControl writes the message.
func (m Close) AppendControl(dst []byte) []byte {
	return append(dst, byte(controlClose), byte(m.Reason))
}
