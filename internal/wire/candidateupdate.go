package wire

import "net/netip"

// CandidateUpdate tells the peer where the sender may be reached from now on; it replaces earlier ones.
//
//	0  kind 6
//	1  count u8, at most 8; addresses with port
type CandidateUpdate struct{ Candidates []netip.AddrPort }

// AppendControl writes the message.
func (m CandidateUpdate) AppendControl(dst []byte) []byte {
	return appendCandidates(append(dst, byte(controlCandidateUpdate)), m.Candidates)
}
