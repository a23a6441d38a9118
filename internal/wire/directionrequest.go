package wire

import (
	"encoding/binary"
	"net/netip"
)

// The flags of a DirectionRequest.
const (
	// DirectionRelayWanted asks for a relay because the direct path does not work.
	DirectionRelayWanted uint8 = 1
	// DirectionRelayElse asks, together with DirectionRelayWanted, for another relay than the NMS would choose: that one
	// does not work, and the NMS may not have heard of it yet. An NMS that does not know it drops the request.
	DirectionRelayElse uint8 = 2

	directionFlags = DirectionRelayWanted | DirectionRelayElse
)

// DirectionRequest asks for a route direction to a peer. Node to NMS; idempotent by RequestID.
//
//	 0  kind 4
//	 1  request id u64              random, the same in retransmissions
//	 9  flags u8                    bit 0: relay wanted; bit 1: another one; others zero
//	10  target
type DirectionRequest struct {
	RequestID uint64
	Flags     uint8
	Target    Target
}

// Target names the peer: by FQDN, or by virtual IP where FQDN is empty.
//
//	0  1 | length u8, 1 to 253 | FQDN
//	0  4 | IPv4 address      0  6 | IPv6 address
type Target struct {
	FQDN string
	Addr netip.Addr
}

const targetFQDN = 1

// String returns the FQDN or the virtual IP.
func (t Target) String() string {
	if t.FQDN != "" {
		return t.FQDN
	}
	return t.Addr.String()
}

// AppendBody writes the body.
func (m DirectionRequest) AppendBody(dst []byte) []byte {
	dst = append(dst, byte(bodyDirectionRequest))
	dst = binary.BigEndian.AppendUint64(dst, m.RequestID)
	dst = append(dst, m.Flags)
	if m.Target.FQDN != "" {
		return appendName(append(dst, targetFQDN), m.Target.FQDN)
	}
	return appendAddr(dst, m.Target.Addr)
}

func parseDirectionRequest(r *reader) DirectionRequest {
	m := DirectionRequest{RequestID: r.u64(), Flags: r.u8()}
	if m.Flags&^directionFlags != 0 || m.Flags == DirectionRelayElse {
		r.fail(ErrReserved)
	}
	if len(r.b) > 0 && r.b[0] == targetFQDN {
		r.u8()
		if m.Target.FQDN = r.name(); m.Target.FQDN == "" {
			r.fail(ErrLength)
		}
		return m
	}
	m.Target.Addr = r.addr()
	return m
}
