package wire

import "encoding/binary"

const signalReplyFixed = 32

// SignalReplyOverhead is what a SignalReply adds to its body, in bytes.
const SignalReplyOverhead = signalReplyFixed + tagSize

// SignalReplyHeaderSize is the length in bytes of a SignalReply's additional data.
const SignalReplyHeaderSize = 8

// SignalReply carries one signalling body from the NMS to a node, as an answer or unasked.
//
//	 0  type 0x11 | version 1, flags 0 | reserved 2
//	 4  receiver tag u32            of the identity that is meant
//	 8  nonce 24                    boot id 16 of the sending replica, then its counter u64
//	32  ciphertext + tag 16         the body; additional data: the first 8 bytes
type SignalReply struct {
	ReceiverTag uint32
	Nonce       [24]byte
	Ciphertext  []byte // with tag
}

// AppendHeader writes everything before the ciphertext. Only its first SignalReplyHeaderSize bytes are
// additional data; the nonce is authenticated by being the nonce.
func (m SignalReply) AppendHeader(dst []byte) []byte {
	dst = appendHeaderReserved(dst, TypeSignalReply)
	dst = binary.BigEndian.AppendUint32(dst, m.ReceiverTag)
	return append(dst, m.Nonce[:]...)
}

// Append writes the datagram.
func (m SignalReply) Append(dst []byte) []byte { return append(m.AppendHeader(dst), m.Ciphertext...) }

// ParseSignalReply decodes a SignalReply; Ciphertext aliases b.
func ParseSignalReply(b []byte) (SignalReply, error) {
	var m SignalReply
	r := reader{b: b}
	r.header(TypeSignalReply)
	r.reserved(2)
	m.ReceiverTag = r.u32()
	r.copyTo(m.Nonce[:])
	m.Ciphertext = r.rest()
	switch {
	case r.err != nil:
	case len(b) > MaxDatagram:
		r.fail(ErrLength)
	case len(m.Ciphertext) < tagSize+1:
		r.fail(ErrShort)
	}
	if err := r.done(); err != nil {
		return SignalReply{}, err
	}
	return m, nil
}
