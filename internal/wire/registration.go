package wire

import (
	"encoding/binary"
	"net/netip"
)

// Registration tells the NMS where a node is. Node to NMS, again at every keep-alive.
//
//	 0  kind 1
//	 1  echo u64                    random per registration
//	 9  flags u8                    none is defined; receivers ignore unknown ones
//	10  candidates                  count u8, at most 8; addresses with port, the node's own view
//	    certificate length u16, at most 512
//	    certificate
type Registration struct {
	Echo        uint64
	Flags       uint8
	Candidates  []netip.AddrPort
	Certificate []byte
}

// AppendBody writes the body.
func (m Registration) AppendBody(dst []byte) []byte {
	dst = append(dst, byte(bodyRegistration))
	dst = binary.BigEndian.AppendUint64(dst, m.Echo)
	dst = append(dst, m.Flags)
	dst = appendCandidates(dst, m.Candidates)
	return appendVector16(dst, m.Certificate)
}

func parseRegistration(r *reader) Registration {
	return Registration{
		Echo:        r.u64(),
		Flags:       r.u8(),
		Candidates:  r.candidates(),
		Certificate: r.vector16(MaxCertificate),
	}
}
