package wire

import (
	"encoding/binary"
	"net/netip"
)

// Probe asks the peer to answer on the path on which the probe came.
//
//	0  kind 3
//	1  id u64                       random, chosen by the sender
type Probe struct{ ID uint64 }

// AppendControl writes the message.
func (m Probe) AppendControl(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(append(dst, byte(controlProbe)), m.ID)
}

// ProbeReply answers a Probe.
//
//	0  kind 4
//	1  id u64                       of the Probe
//	9  observed address             where the Probe came from, as the answerer saw it
type ProbeReply struct {
	ID       uint64
	Observed netip.AddrPort
}

// AppendControl writes the message.
func (m ProbeReply) AppendControl(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, byte(controlProbeReply)), m.ID)
	return appendAddrPort(dst, m.Observed)
}
