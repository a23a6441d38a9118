package wire

import "encoding/binary"

// RelayBoundSize is the length of a RelayBound in bytes.
const RelayBoundSize = 35

// RelayBound says that the sender's address is bound. TRS to node.
//
//	 0  type 0x22 | version 1, flags 0 | reserved 2
//	 4  nonce u64                   of the RelayBind
//	12  channel u32, not 0          goes into RelayData
//	16  TTL u16                     seconds of silence after which the binding ends
//	18  peer bound u8, 0 or 1       1: the other side is bound too
//	19  MAC 16                      see SignRelay
type RelayBound struct {
	Nonce     uint64
	Channel   uint32
	TTL       uint16 // seconds
	PeerBound bool
	MAC       [16]byte
}

// Append writes the datagram with the MAC as it stands; SignRelay on the result fills it in.
func (m RelayBound) Append(dst []byte) []byte {
	dst = appendHeaderReserved(dst, TypeRelayBound)
	dst = binary.BigEndian.AppendUint64(dst, m.Nonce)
	dst = binary.BigEndian.AppendUint32(dst, m.Channel)
	dst = binary.BigEndian.AppendUint16(dst, m.TTL)
	dst = appendFlag(dst, m.PeerBound)
	return append(dst, m.MAC[:]...)
}

// ParseRelayBound decodes a RelayBound without checking its MAC.
func ParseRelayBound(b []byte) (RelayBound, error) {
	var m RelayBound
	r := reader{b: b}
	r.header(TypeRelayBound)
	r.reserved(2)
	m.Nonce = r.u64()
	if m.Channel = r.u32(); r.err == nil && m.Channel == 0 {
		r.fail(ErrValue)
	}
	m.TTL = r.u16()
	m.PeerBound = r.flag()
	r.copyTo(m.MAC[:])
	if err := r.done(); err != nil {
		return RelayBound{}, err
	}
	return m, nil
}
