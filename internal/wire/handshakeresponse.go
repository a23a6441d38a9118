package wire

import "encoding/binary"

const (
	handshakeResponseFixed = 12 + 32 + 2 + tagSize

	// MaxHandshakeResponse is the greatest size of a HandshakeResponse in bytes.
	MaxHandshakeResponse = handshakeResponseFixed + maxEncRespPayload
)

// HandshakeResponse is message 2 of the tunnel handshake, responder to initiator.
//
//	 0      type 0x02 | version 1, flags 0 | reserved 2
//	 4      sender index u32            the responder's index for this handshake and its session
//	 8      receiver index u32          SenderIndex of the HandshakeInit
//	12      ephemeral 32                X25519, in clear
//	44      payload length u16
//	46      encrypted payload           ResponsePayload + tag
//	end-16  MAC1 16                     over all before it, keyed by the initiator's static key
//
// There is no second MAC as in HandshakeInit: the message is only looked at when its receiver index
// names a handshake that the receiver itself has begun, once per index.
type HandshakeResponse struct {
	SenderIndex   uint32
	ReceiverIndex uint32
	Ephemeral     [32]byte
	EncPayload    []byte
	MAC1          [16]byte
}

// Append writes the message.
func (m HandshakeResponse) Append(dst []byte) []byte {
	dst = appendHeaderReserved(dst, TypeHandshakeResponse)
	dst = binary.BigEndian.AppendUint32(dst, m.SenderIndex)
	dst = binary.BigEndian.AppendUint32(dst, m.ReceiverIndex)
	dst = append(dst, m.Ephemeral[:]...)
	dst = appendVector16(dst, m.EncPayload)
	return append(dst, m.MAC1[:]...)
}

// ParseHandshakeResponse decodes a HandshakeResponse; EncPayload aliases b.
func ParseHandshakeResponse(b []byte) (HandshakeResponse, error) {
	var m HandshakeResponse
	r := reader{b: b}
	r.header(TypeHandshakeResponse)
	r.reserved(2)
	m.SenderIndex = r.u32()
	m.ReceiverIndex = r.u32()
	r.copyTo(m.Ephemeral[:])
	n := int(r.u16())
	if n < tagSize || n > maxEncRespPayload {
		r.fail(ErrLength)
	}
	m.EncPayload = r.take(n)
	r.copyTo(m.MAC1[:])
	if err := r.done(); err != nil {
		return HandshakeResponse{}, err
	}
	return m, nil
}
