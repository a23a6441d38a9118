package wire

import "encoding/binary"

const (
	handshakeInitFixed = 12 + 32 + 48 + 2 + 2*tagSize

	// MinHandshakeInit is the least size of a HandshakeInit in bytes: the greatest HandshakeResponse, so
	// that a responder never answers with more than it was sent.
	MinHandshakeInit = MaxHandshakeResponse
	// MaxHandshakeInit is the greatest size of a HandshakeInit in bytes.
	MaxHandshakeInit = handshakeInitFixed + maxEncInitPayload
)

// HandshakeInit is message 1 of the tunnel handshake, initiator to responder.
//
//	 0      type 0x01 | version 1, flags 0 | reserved 2
//	 4      sender index u32            the initiator's index for this handshake and its session
//	 8      receiver tag u32            which identity of the receiving endpoint is meant
//	12      ephemeral 32                X25519, in clear
//	44      encrypted static 48         X25519 key of the initiator + tag
//	92      payload length u16
//	94      encrypted payload           InitPayload + tag
//	        padding, zero, up to MinHandshakeInit in all
//	end-32  MAC1 16                     over all before it, keyed by the responder's static key
//	end-16  MAC2 16                     over all before it, keyed by a cookie; zero without one
type HandshakeInit struct {
	SenderIndex uint32
	ReceiverTag uint32
	Ephemeral   [32]byte
	EncStatic   [48]byte
	EncPayload  []byte
	MAC1        [16]byte
	MAC2        [16]byte
}

// HandshakeHeaderSize is the length in bytes of the part of both handshake messages before the ephemeral key.
const HandshakeHeaderSize = 12

// Append writes the message with its padding.
func (m HandshakeInit) Append(dst []byte) []byte {
	dst = appendHeaderReserved(dst, TypeHandshakeInit)
	dst = binary.BigEndian.AppendUint32(dst, m.SenderIndex)
	dst = binary.BigEndian.AppendUint32(dst, m.ReceiverTag)
	dst = append(dst, m.Ephemeral[:]...)
	dst = append(dst, m.EncStatic[:]...)
	dst = appendVector16(dst, m.EncPayload)
	if n := MinHandshakeInit - handshakeInitFixed - len(m.EncPayload); n > 0 {
		dst = append(dst, make([]byte, n)...)
	}
	dst = append(dst, m.MAC1[:]...)
	return append(dst, m.MAC2[:]...)
}

// ParseHandshakeInit decodes a HandshakeInit; EncPayload aliases b.
func ParseHandshakeInit(b []byte) (HandshakeInit, error) {
	var m HandshakeInit
	r := reader{b: b}
	r.header(TypeHandshakeInit)
	r.reserved(2)
	m.SenderIndex = r.u32()
	m.ReceiverTag = r.u32()
	r.copyTo(m.Ephemeral[:])
	r.copyTo(m.EncStatic[:])
	n := int(r.u16())
	if n < tagSize || n > maxEncInitPayload {
		r.fail(ErrLength)
	}
	m.EncPayload = r.take(n)
	r.reserved(max(0, MinHandshakeInit-handshakeInitFixed-n))
	r.copyTo(m.MAC1[:])
	r.copyTo(m.MAC2[:])
	if err := r.done(); err != nil {
		return HandshakeInit{}, err
	}
	return m, nil
}
