package wire

import "encoding/binary"

// Logout tells the NMS to forget the node's location. Node to NMS; not answered.
//
//	0  kind 9
//	1  echo u64                     random
type Logout struct{ Echo uint64 }

// AppendBody writes the body.
func (m Logout) AppendBody(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(append(dst, byte(bodyLogout)), m.Echo)
}
