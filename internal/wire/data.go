package wire

import "encoding/binary"

// Sizes of a Data datagram's parts in bytes.
const (
	DataHeaderSize = 16
	DataOverhead   = DataHeaderSize + tagSize
)

// Flags of a Data datagram, in the low nibble of byte 1.
const (
	// FlagControl: the plaintext is a control message, not an IP packet.
	FlagControl uint8 = 1
	// FlagHandshake: the datagram belongs to the handshake that the receiver index names, not to its
	// session: it is sealed with the Noise transport keys and carries KEMKey or KEMCiphertext. It always
	// comes with FlagControl. A receiver hands it to the handshake even where a session of that index
	// exists already, because the initiator repeats KEMKey until the answer has arrived.
	FlagHandshake uint8 = 2

	dataFlags = FlagControl | FlagHandshake
)

// DataHeader is the clear part of a Data datagram, and all of it is additional data of the AEAD.
//
//	 0  type 0x04 | version 1, flags | reserved 2
//	 4  receiver index u32          bytes 4 to 15 are the AEAD nonce: the index is constant for a
//	 8  counter u64                 key, the counter never repeats
//	16  ciphertext                  one IP packet, or a control message (FlagControl)
//	    tag 16
type DataHeader struct {
	Flags         uint8
	ReceiverIndex uint32
	Counter       uint64
}

// AppendDataHeader writes the 16 header bytes. It does not allocate when dst has room.
func AppendDataHeader(dst []byte, flags uint8, index uint32, counter uint64) []byte {
	dst = append(dst, byte(TypeData), Version<<4|flags&0x0f, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, index)
	return binary.BigEndian.AppendUint64(dst, counter)
}

// ParseDataHeader decodes the header of a datagram that has at least room for the tag.
func ParseDataHeader(b []byte) (DataHeader, error) {
	if len(b) < DataOverhead {
		return DataHeader{}, ErrShort
	}
	switch {
	case b[1]>>4 != Version:
		return DataHeader{}, ErrVersion
	case Type(b[0]) != TypeData:
		return DataHeader{}, ErrType
	case b[1]&0x0f&^dataFlags != 0 || b[2] != 0 || b[3] != 0:
		return DataHeader{}, ErrReserved
	}
	return DataHeader{
		Flags:         b[1] & 0x0f,
		ReceiverIndex: binary.BigEndian.Uint32(b[4:]),
		Counter:       binary.BigEndian.Uint64(b[8:]),
	}, nil
}
