package wire

import (
	"encoding/binary"
	"net/netip"
)

// RegistrationAck answers a Registration that has taken effect, and is sent once more when the policy version
// changes afterwards. NMS to node.
//
//	0  kind 2
//	1  echo u64                    of the Registration
//	9  observed address            the source that the NMS saw, with port
//	   NATed u8                    1: the observed address is none of the candidates
//	   TTL u16                     seconds until the location is forgotten
//	   keep-alive u16              seconds until the next Registration is due
//	   policy u64                  version of all that decides who may talk in the network, 0: not said
type RegistrationAck struct {
	Echo      uint64
	Observed  netip.AddrPort
	NATed     bool
	TTL       uint16 // seconds
	Keepalive uint16 // seconds
	Policy    uint64
}

// AppendBody writes the body.
func (m RegistrationAck) AppendBody(dst []byte) []byte {
	dst = append(dst, byte(bodyRegistrationAck))
	dst = binary.BigEndian.AppendUint64(dst, m.Echo)
	dst = appendAddrPort(dst, m.Observed)
	dst = appendFlag(dst, m.NATed)
	dst = binary.BigEndian.AppendUint16(dst, m.TTL)
	dst = binary.BigEndian.AppendUint16(dst, m.Keepalive)
	return binary.BigEndian.AppendUint64(dst, m.Policy)
}

func parseRegistrationAck(r *reader) RegistrationAck {
	return RegistrationAck{
		Echo:      r.u64(),
		Observed:  r.addrPort(),
		NATed:     r.flag(),
		TTL:       r.u16(),
		Keepalive: r.u16(),
		Policy:    r.u64(),
	}
}
