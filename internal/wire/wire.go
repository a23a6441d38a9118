// Package wire is the vocabulary of CYPHONIC on the network: every message, its byte layout, its
// encoder and its decoder, one file each. Everything that two programs say to each other is defined here.
//
// It must not open sockets, read clocks, start goroutines, keep state or know keys; it authenticates
// nothing except the relay messages' MAC (relaymac.go), whose key is in the message exchange itself.
//
// Conventions: integers are big endian. Byte 0 of each datagram is its Type; byte 1 carries the wire
// version in the high nibble and flags in the low nibble (only Data defines flags). Reserved bytes are
// zero, and a decoder refuses anything else. Encoders are Append(dst) and need values inside the bounds
// of limits.go; decoders enforce every bound, accept exactly one length, never panic and never partly succeed.
//
// Aliasing: the slices in datagram-level values (HandshakeInit, HandshakeResponse, Signal, SignalReply,
// RelayBind, RelayData) alias the parsed buffer. The slices in bodies (signal bodies, control messages,
// login messages, handshake payloads) are copies.
package wire

import "strconv"

// Version is the wire version that this package speaks. It is part of the handshake's authenticated transcript.
const Version = 1

// Type is the first byte of a datagram or login message.
type Type uint8

// The message types. Peers exchange 0x0x, a node and the NMS 0x1x, a node and the TRS 0x2x, a device and the AS 0x3x.
const (
	TypeHandshakeInit     Type = 0x01
	TypeHandshakeResponse Type = 0x02
	TypeCookieReply       Type = 0x03
	TypeData              Type = 0x04
	TypePunch             Type = 0x05

	TypeSignal      Type = 0x10
	TypeSignalReply Type = 0x11

	TypeRelayBind      Type = 0x20
	TypeRelayChallenge Type = 0x21
	TypeRelayBound     Type = 0x22
	TypeRelayData      Type = 0x23
	TypeRelayError     Type = 0x24

	TypeLoginRequest  Type = 0x30
	TypeLoginResponse Type = 0x31
)

// String returns the name used in logs and metric labels.
func (t Type) String() string {
	switch t {
	case TypeHandshakeInit:
		return "handshake_init"
	case TypeHandshakeResponse:
		return "handshake_response"
	case TypeCookieReply:
		return "cookie_reply"
	case TypeData:
		return "data"
	case TypePunch:
		return "punch"
	case TypeSignal:
		return "signal"
	case TypeSignalReply:
		return "signal_reply"
	case TypeRelayBind:
		return "relay_bind"
	case TypeRelayChallenge:
		return "relay_challenge"
	case TypeRelayBound:
		return "relay_bound"
	case TypeRelayData:
		return "relay_data"
	case TypeRelayError:
		return "relay_error"
	case TypeLoginRequest:
		return "login_request"
	case TypeLoginResponse:
		return "login_response"
	}
	return "type_0x" + strconv.FormatUint(uint64(t), 16)
}

func (t Type) known() bool {
	switch t {
	case TypeHandshakeInit, TypeHandshakeResponse, TypeCookieReply, TypeData, TypePunch,
		TypeSignal, TypeSignalReply,
		TypeRelayBind, TypeRelayChallenge, TypeRelayBound, TypeRelayData, TypeRelayError,
		TypeLoginRequest, TypeLoginResponse:
		return true
	}
	return false
}

// PeekType returns the type of a message after checking its version. It fails with ErrShort, ErrVersion
// (checked first, so that a newer version is counted as such whatever its types are) or ErrType.
func PeekType(b []byte) (Type, error) {
	if len(b) < 2 {
		return 0, ErrShort
	}
	if b[1]>>4 != Version {
		return 0, ErrVersion
	}
	t := Type(b[0])
	if !t.known() {
		return 0, ErrType
	}
	return t, nil
}
