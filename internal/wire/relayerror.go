package wire

import (
	"encoding/binary"
	"strconv"
)

// RelayErrorSize is the length of a RelayError in bytes.
const RelayErrorSize = 28

// RelayErrorCode says why a relay cannot be bound, or will not be for long.
type RelayErrorCode uint8

// The codes of a RelayError.
const (
	RelayErrorExpired  RelayErrorCode = 1 // the token's time is over: ask the NMS for a new one
	RelayErrorQuota    RelayErrorCode = 2 // a quota of the token or of the network is used up
	RelayErrorBusy     RelayErrorCode = 3 // the service is at a bound: try later
	RelayErrorAddress  RelayErrorCode = 4 // the TRS does not relay to such an address
	RelayErrorInternal RelayErrorCode = 5
	// RelayErrorLeaving says that the TRS will end soon: what is bound goes on, but ask the NMS for another relay.
	// Devices that do not know the code drop the message as malformed.
	RelayErrorLeaving RelayErrorCode = 6
)

// String returns the word used in logs and metric labels.
func (c RelayErrorCode) String() string {
	switch c {
	case RelayErrorExpired:
		return "expired"
	case RelayErrorQuota:
		return "quota"
	case RelayErrorBusy:
		return "busy"
	case RelayErrorAddress:
		return "address"
	case RelayErrorInternal:
		return "internal"
	case RelayErrorLeaving:
		return "leaving"
	}
	return "code_" + strconv.Itoa(int(c))
}

// RelayError refuses a RelayBind whose token could be opened. TRS to node. With RelayErrorLeaving it refuses only
// if no RelayBound comes with it, and it also comes unasked, with the nonce of the RelayBind answered last.
//
//	 0  type 0x24 | version 1, flags 0 | code u8, 1 to 6 | reserved 1
//	 4  nonce u64                   of the RelayBind
//	12  MAC 16                      see SignRelay
type RelayError struct {
	Code  RelayErrorCode
	Nonce uint64
	MAC   [16]byte
}

// Append writes the datagram with the MAC as it stands; SignRelay on the result fills it in.
func (m RelayError) Append(dst []byte) []byte {
	dst = append(appendHeader(dst, TypeRelayError), byte(m.Code), 0)
	dst = binary.BigEndian.AppendUint64(dst, m.Nonce)
	return append(dst, m.MAC[:]...)
}

// ParseRelayError decodes a RelayError without checking its MAC.
func ParseRelayError(b []byte) (RelayError, error) {
	var m RelayError
	r := reader{b: b}
	r.header(TypeRelayError)
	m.Code = RelayErrorCode(r.u8())
	if r.err == nil && (m.Code < RelayErrorExpired || m.Code > RelayErrorLeaving) {
		r.fail(ErrValue)
	}
	r.reserved(1)
	m.Nonce = r.u64()
	r.copyTo(m.MAC[:])
	if err := r.done(); err != nil {
		return RelayError{}, err
	}
	return m, nil
}
