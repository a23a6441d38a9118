package wire

import "encoding/binary"

// Confirmation asks the responder whether it accepts a tunnel from the peer in Direction. NMS to node.
//
//	 0  kind 6
//	 1  echo u64                    of the responder's latest Registration
//	 9  direction id u64
//	17  direction                   seen from the responder
type Confirmation struct {
	Echo        uint64
	DirectionID uint64
	Direction   Direction
}

// AppendBody writes the body.
func (m Confirmation) AppendBody(dst []byte) []byte {
	dst = append(dst, byte(bodyConfirmation))
	dst = binary.BigEndian.AppendUint64(dst, m.Echo)
	dst = binary.BigEndian.AppendUint64(dst, m.DirectionID)
	return m.Direction.append(dst)
}

func parseConfirmation(r *reader) Confirmation {
	return Confirmation{Echo: r.u64(), DirectionID: r.u64(), Direction: parseDirection(r)}
}
