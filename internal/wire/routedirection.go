package wire

import (
	"encoding/binary"
	"strconv"
)

// RouteKind is how the NMS expects two peers to reach each other.
type RouteKind uint8

// The kinds of a RouteDirection.
const (
	RouteDirect  RouteKind = 1
	RoutePunched RouteKind = 2 // at least one end is behind NAT: the responder punches
	RouteRelayed RouteKind = 3 // no common address family, or a relay was asked for
)

// String returns the word used in logs and metric labels.
func (k RouteKind) String() string {
	switch k {
	case RouteDirect:
		return "direct"
	case RoutePunched:
		return "punched"
	case RouteRelayed:
		return "relayed"
	}
	return "kind_" + strconv.Itoa(int(k))
}

// RouteDirection tells a node how to reach its peer. NMS to both ends.
//
//	 0  kind 8
//	 1  echo u64                    initiator: its RequestID; responder: Echo of its latest Registration
//	 9  direction id u64            the same at both ends
//	17  initiator u8, 0 or 1        1: the receiver of this message initiates the handshake
//	18  route kind u8, 1 to 3
//	19  direction                   seen from the receiver
type RouteDirection struct {
	Echo        uint64
	DirectionID uint64
	Initiator   bool
	Kind        RouteKind
	Direction   Direction
}

// AppendBody writes the body.
func (m RouteDirection) AppendBody(dst []byte) []byte {
	dst = append(dst, byte(bodyRouteDirection))
	dst = binary.BigEndian.AppendUint64(dst, m.Echo)
	dst = binary.BigEndian.AppendUint64(dst, m.DirectionID)
	dst = appendFlag(dst, m.Initiator)
	dst = append(dst, byte(m.Kind))
	return m.Direction.append(dst)
}

func parseRouteDirection(r *reader) RouteDirection {
	m := RouteDirection{Echo: r.u64(), DirectionID: r.u64(), Initiator: r.flag(), Kind: RouteKind(r.u8())}
	if m.Kind < RouteDirect || m.Kind > RouteRelayed {
		r.fail(ErrValue)
	}
	m.Direction = parseDirection(r)
	return m
}
