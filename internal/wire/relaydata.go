package wire

import "encoding/binary"

// RelayHeaderSize is what relaying adds to a peer datagram, in bytes.
const RelayHeaderSize = 8

// RelayData carries one peer datagram (HandshakeInit, HandshakeResponse, CookieReply, Data or Punch)
// between a node and the TRS, both ways.
//
//	0  type 0x23 | version 1, flags 0 | reserved 2
//	4  channel u32, not 0
//	8  peer datagram
type RelayData struct {
	Channel  uint32
	Datagram []byte
}

// AppendRelayHeader writes the 8 header bytes. It does not allocate when dst has room.
func AppendRelayHeader(dst []byte, channel uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHeaderReserved(dst, TypeRelayData), channel)
}

// Append writes the datagram.
func (m RelayData) Append(dst []byte) []byte {
	return append(AppendRelayHeader(dst, m.Channel), m.Datagram...)
}

// ParseRelayData decodes a RelayData without allocating; Datagram aliases b. The datagram inside must
// begin like a message between peers (ErrType otherwise), so that a relay carries nothing else.
func ParseRelayData(b []byte) (RelayData, error) {
	var m RelayData
	r := reader{b: b}
	r.header(TypeRelayData)
	r.reserved(2)
	if m.Channel = r.u32(); r.err == nil && m.Channel == 0 {
		r.fail(ErrValue)
	}
	m.Datagram = r.rest()
	if err := r.done(); err != nil {
		return RelayData{}, err
	}
	t, err := PeekType(m.Datagram)
	if err != nil {
		return RelayData{}, err
	}
	if t > TypePunch {
		return RelayData{}, ErrType
	}
	return m, nil
}
