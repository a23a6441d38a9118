package wire

// Control is a message between two peers inside a Data datagram with FlagControl: one kind byte, then the body.
type Control interface {
	AppendControl(dst []byte) []byte
}

type controlKind uint8

const (
	controlKEMKey          controlKind = 1
	controlKEMCiphertext   controlKind = 2
	controlProbe           controlKind = 3
	controlProbeReply      controlKind = 4
	controlKeepalive       controlKind = 5
	controlCandidateUpdate controlKind = 6
	controlClose           controlKind = 7
)

// ParseControl decodes a control message. The result is one of *KEMKey, *KEMCiphertext (pointers, for
// their size), Probe, ProbeReply, Keepalive, CandidateUpdate and Close.
func ParseControl(b []byte) (Control, error) {
	r := reader{b: b}
	var m Control
	switch controlKind(r.u8()) {
	case controlKEMKey:
		m = parseKEMKey(&r)
	case controlKEMCiphertext:
		m = parseKEMCiphertext(&r)
	case controlProbe:
		m = Probe{ID: r.u64()}
	case controlProbeReply:
		m = ProbeReply{ID: r.u64(), Observed: r.addrPort()}
	case controlKeepalive:
		m = Keepalive{}
	case controlCandidateUpdate:
		m = CandidateUpdate{Candidates: r.candidates()}
	case controlClose:
		m = Close{Reason: CloseReason(r.u8())}
	default:
		r.fail(ErrType)
	}
	if len(b) == 0 {
		return nil, ErrShort
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return m, nil
}
