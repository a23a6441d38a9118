package wire

import "errors"

// The reasons for which a decoder refuses its input. They are stable: callers count drops by them.
var (
	ErrShort    = errors.New("wire: message is too short")
	ErrVersion  = errors.New("wire: unknown wire version")
	ErrType     = errors.New("wire: unexpected message type")
	ErrLength   = errors.New("wire: length is out of bounds or bytes are left over")
	ErrReserved = errors.New("wire: reserved bits are not zero")
	ErrAddress  = errors.New("wire: malformed address")
	ErrValue    = errors.New("wire: field value is not defined")
)
