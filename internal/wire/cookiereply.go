package wire

import "encoding/binary"

// CookieReplySize is the length of a CookieReply in bytes.
const CookieReplySize = 64

// CookieReply answers a HandshakeInit when the responder is under load: repeat it with MAC2.
//
//	 0  type 0x03 | version 1, flags 0 | reserved 2
//	 4  receiver index u32         SenderIndex of the HandshakeInit
//	 8  nonce 24
//	32  encrypted cookie 32        16 bytes + tag, additional data: MAC1 of the HandshakeInit
type CookieReply struct {
	ReceiverIndex uint32
	Nonce         [24]byte
	EncCookie     [32]byte
}

// Append writes the message.
func (m CookieReply) Append(dst []byte) []byte {
	dst = appendHeaderReserved(dst, TypeCookieReply)
	dst = binary.BigEndian.AppendUint32(dst, m.ReceiverIndex)
	dst = append(dst, m.Nonce[:]...)
	return append(dst, m.EncCookie[:]...)
}

// ParseCookieReply decodes a CookieReply.
func ParseCookieReply(b []byte) (CookieReply, error) {
	var m CookieReply
	r := reader{b: b}
	r.header(TypeCookieReply)
	r.reserved(2)
	m.ReceiverIndex = r.u32()
	r.copyTo(m.Nonce[:])
	r.copyTo(m.EncCookie[:])
	if err := r.done(); err != nil {
		return CookieReply{}, err
	}
	return m, nil
}
