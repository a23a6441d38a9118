package wire

import "encoding/binary"

// PunchSize is the length of a Punch in bytes.
const PunchSize = 8

// Punch opens the sender's NAT mapping towards a candidate of the peer. It is never answered.
//
//	0  type 0x05 | version 1, flags 0 | reserved 2
//	4  nonce u32                    random, for captures only
type Punch struct{ Nonce uint32 }

// Append writes the message.
func (m Punch) Append(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(appendHeaderReserved(dst, TypePunch), m.Nonce)
}

// ParsePunch decodes a Punch.
func ParsePunch(b []byte) (Punch, error) {
	r := reader{b: b}
	r.header(TypePunch)
	r.reserved(2)
	m := Punch{Nonce: r.u32()}
	if err := r.done(); err != nil {
		return Punch{}, err
	}
	return m, nil
}
