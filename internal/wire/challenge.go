package wire

import "encoding/binary"

// Challenge asks a node to show that it receives at the source address it uses: repeat the body with this
// cookie and a new counter. NMS to node.
//
//	0  kind 3
//	1  echo u64                     Echo or RequestID of the request that is challenged
//	9  cookie 16
type Challenge struct {
	Echo   uint64
	Cookie [16]byte
}

// AppendBody writes the body.
func (m Challenge) AppendBody(dst []byte) []byte {
	dst = append(dst, byte(bodyChallenge))
	dst = binary.BigEndian.AppendUint64(dst, m.Echo)
	return append(dst, m.Cookie[:]...)
}

func parseChallenge(r *reader) Challenge {
	m := Challenge{Echo: r.u64()}
	r.copyTo(m.Cookie[:])
	return m
}
