package wire

// Keepalive keeps NAT mappings of a path open. It is not answered.
//
//	0  kind 5
type Keepalive struct{}

// AppendControl writes the message.
func (Keepalive) AppendControl(dst []byte) []byte { return append(dst, byte(controlKeepalive)) }
