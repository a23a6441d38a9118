package wire

import "encoding/binary"

// RelayBind binds the sender's address to its side of a relay. Node to TRS.
//
//	 0      type 0x20 | version 1, flags 0 | token length u16, 1 to 192
//	 4      nonce u64               random, the same in retransmissions; answers carry it
//	12      cookie 16               from a RelayChallenge, else zero
//	28      token
//	end-16  MAC 16                  see SignRelay
//
// With a token of at least one byte it is larger than each of its answers.
type RelayBind struct {
	Nonce  uint64
	Cookie [16]byte
	Token  []byte
	MAC    [16]byte
}

// Append writes the datagram with the MAC as it stands; SignRelay on the result fills it in.
func (m RelayBind) Append(dst []byte) []byte {
	dst = appendHeader(dst, TypeRelayBind)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(m.Token)))
	dst = binary.BigEndian.AppendUint64(dst, m.Nonce)
	dst = append(dst, m.Cookie[:]...)
	dst = append(dst, m.Token...)
	return append(dst, m.MAC[:]...)
}

// ParseRelayBind decodes a RelayBind without checking its MAC; Token aliases b.
func ParseRelayBind(b []byte) (RelayBind, error) {
	var m RelayBind
	r := reader{b: b}
	r.header(TypeRelayBind)
	n := int(r.u16())
	m.Nonce = r.u64()
	r.copyTo(m.Cookie[:])
	if r.err == nil && (n == 0 || n > MaxRelayToken) {
		r.fail(ErrLength)
	}
	m.Token = r.take(n)
	r.copyTo(m.MAC[:])
	if err := r.done(); err != nil {
		return RelayBind{}, err
	}
	return m, nil
}
