package wire

import (
	"encoding/binary"
	"strconv"
)

// FailureCode says why there is no route direction.
type FailureCode uint8

// The codes of a DirectionFailure.
const (
	FailureUnknown  FailureCode = 1 // no such FQDN or virtual IP in the network: NXDOMAIN
	FailureDenied   FailureCode = 2 // no access policy allows the pair
	FailureOffline  FailureCode = 3 // the peer is not registered now
	FailureRejected FailureCode = 4 // the peer did not confirm
	FailureBusy     FailureCode = 5 // the service is at a bound: try later
	FailureInternal FailureCode = 6 // the service failed: try later
)

// String returns the word used in logs and metric labels.
func (c FailureCode) String() string {
	switch c {
	case FailureUnknown:
		return "unknown"
	case FailureDenied:
		return "denied"
	case FailureOffline:
		return "offline"
	case FailureRejected:
		return "rejected"
	case FailureBusy:
		return "busy"
	case FailureInternal:
		return "internal"
	}
	return "code_" + strconv.Itoa(int(c))
}

// DirectionFailure answers a DirectionRequest that cannot be met. NMS to node.
//
//	0  kind 5
//	1  request id u64
//	9  code u8, 1 to 6
type DirectionFailure struct {
	RequestID uint64
	Code      FailureCode
}

// AppendBody writes the body.
func (m DirectionFailure) AppendBody(dst []byte) []byte {
	dst = append(dst, byte(bodyDirectionFailure))
	dst = binary.BigEndian.AppendUint64(dst, m.RequestID)
	return append(dst, byte(m.Code))
}

func parseDirectionFailure(r *reader) DirectionFailure {
	m := DirectionFailure{RequestID: r.u64(), Code: FailureCode(r.u8())}
	if m.Code < FailureUnknown || m.Code > FailureInternal {
		r.fail(ErrValue)
	}
	return m
}
