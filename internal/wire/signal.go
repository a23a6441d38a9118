package wire

import "encoding/binary"

const signalFixed = 32

// SignalOverhead is what a Signal adds to its body and ticket, in bytes.
const SignalOverhead = signalFixed + tagSize

// Signal carries one signalling body from a node to the NMS.
//
//	 0  type 0x10 | version 1, flags 0 | ticket length u16, 1 to 512
//	 4  receiver tag u32            random, chosen by the node per identity; answers carry it
//	 8  counter u64                 grows with every datagram of the ticket; AEAD nonce with 4 zero bytes before
//	16  cookie 16                   from a Challenge, else zero
//	32  ticket                      opaque to the node
//	    ciphertext + tag 16         the body; additional data: everything before
type Signal struct {
	ReceiverTag uint32
	Counter     uint64
	Cookie      [16]byte
	Ticket      []byte
	Ciphertext  []byte // with tag
}

// AppendHeader writes everything before the ciphertext: the additional data.
func (m Signal) AppendHeader(dst []byte) []byte {
	dst = appendHeader(dst, TypeSignal)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(m.Ticket)))
	dst = binary.BigEndian.AppendUint32(dst, m.ReceiverTag)
	dst = binary.BigEndian.AppendUint64(dst, m.Counter)
	dst = append(dst, m.Cookie[:]...)
	return append(dst, m.Ticket...)
}

// Append writes the datagram.
func (m Signal) Append(dst []byte) []byte { return append(m.AppendHeader(dst), m.Ciphertext...) }

// HeaderSize returns the length in bytes of what AppendHeader writes.
func (m Signal) HeaderSize() int { return signalFixed + len(m.Ticket) }

// ParseSignal decodes a Signal; Ticket and Ciphertext alias b.
func ParseSignal(b []byte) (Signal, error) {
	var m Signal
	r := reader{b: b}
	r.header(TypeSignal)
	n := int(r.u16())
	m.ReceiverTag = r.u32()
	m.Counter = r.u64()
	r.copyTo(m.Cookie[:])
	if r.err == nil && (n == 0 || n > MaxTicket || len(b) > MaxDatagram) {
		r.fail(ErrLength)
	}
	m.Ticket = r.take(n)
	m.Ciphertext = r.rest()
	if r.err == nil && len(m.Ciphertext) < tagSize+1 {
		r.fail(ErrShort)
	}
	if err := r.done(); err != nil {
		return Signal{}, err
	}
	return m, nil
}
