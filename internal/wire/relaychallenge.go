package wire

import "encoding/binary"

// RelayChallengeSize is the length of a RelayChallenge in bytes.
const RelayChallengeSize = 28

// RelayChallenge asks for the RelayBind again with this cookie. TRS to node. It has no MAC: a forged one costs
// the receiver one retransmission.
//
//	 0  type 0x21 | version 1, flags 0 | reserved 2
//	 4  nonce u64                   of the RelayBind
//	12  cookie 16
type RelayChallenge struct {
	Nonce  uint64
	Cookie [16]byte
}

// Append writes the datagram.
func (m RelayChallenge) Append(dst []byte) []byte {
	dst = appendHeaderReserved(dst, TypeRelayChallenge)
	dst = binary.BigEndian.AppendUint64(dst, m.Nonce)
	return append(dst, m.Cookie[:]...)
}

// ParseRelayChallenge decodes a RelayChallenge.
func ParseRelayChallenge(b []byte) (RelayChallenge, error) {
	var m RelayChallenge
	r := reader{b: b}
	r.header(TypeRelayChallenge)
	r.reserved(2)
	m.Nonce = r.u64()
	r.copyTo(m.Cookie[:])
	if err := r.done(); err != nil {
		return RelayChallenge{}, err
	}
	return m, nil
}
