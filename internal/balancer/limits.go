package balancer

import "time"

// Bounds of the connection between a replica and the speaker of its host.
const (
	// MaxMessage bounds one line, in bytes. A longer one ends the connection.
	MaxMessage = 64 << 10
	// WriteTimeout bounds the sending of one message.
	WriteTimeout = 2 * time.Second

	// retryMin and retryMax bound the pause between attempts to connect; refusedDelay is the pause after the speaker
	// has refused the registration, which only a person can change.
	retryMin     = 50 * time.Millisecond
	retryMax     = time.Second
	refusedDelay = 10 * time.Second
)
