package signaling

import "errors"

// The reasons for which Receive refuses a datagram; callers count drops by them.
var (
	ErrMalformed      = errors.New("signaling: datagram or body cannot be decoded")
	ErrTag            = errors.New("signaling: datagram for another receiver tag")
	ErrAuthentication = errors.New("signaling: datagram is not sealed with the session key")
	ErrReplay         = errors.New("signaling: datagram has been received before")
	ErrUnasked        = errors.New("signaling: body answers nothing this client has sent")
	ErrDuplicate      = errors.New("signaling: body repeats one that has been handled")
	ErrClosed         = errors.New("signaling: identity has been logged out")
)

// ErrBusy refuses a direction request because MaxRequests are waiting.
var ErrBusy = errors.New("signaling: too many direction requests are waiting")
