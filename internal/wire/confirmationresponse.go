package wire

import (
	"encoding/binary"
	"net/netip"
)

// ConfirmationResponse answers a Confirmation. Node to NMS.
//
//	 0  kind 7
//	 1  direction id u64
//	 9  accept u8, 0 or 1
//	10  candidates                  count u8, at most 8; where the responder may be reached now
type ConfirmationResponse struct {
	DirectionID uint64
	Accept      bool
	Candidates  []netip.AddrPort
}

// AppendBody writes the body.
func (m ConfirmationResponse) AppendBody(dst []byte) []byte {
	dst = append(dst, byte(bodyConfirmationResponse))
	dst = binary.BigEndian.AppendUint64(dst, m.DirectionID)
	dst = appendFlag(dst, m.Accept)
	return appendCandidates(dst, m.Candidates)
}

func parseConfirmationResponse(r *reader) ConfirmationResponse {
	return ConfirmationResponse{DirectionID: r.u64(), Accept: r.flag(), Candidates: r.candidates()}
}
