package login

import (
	"context"
	"crypto/tls"
	"errors"
	mathrand "math/rand/v2"
	"time"
)

// Bounds of a login.
const (
	// DefaultTimeout bounds one attempt. A password login costs the AS about 50 ms of a core, and many devices may log
	// in at once after an outage.
	DefaultTimeout = 15 * time.Second
	// DefaultAttempts is one and three repetitions.
	DefaultAttempts = 4

	// firstPause is before the first repetition, half of it left to chance; each further one takes pauseGrowth times as
	// long. The first is for another replica to be reached, the others for one to start.
	firstPause  = 20 * time.Millisecond
	pauseGrowth = 7

	// An answer that is waited for comes from a host that acknowledges: one that does not for about five seconds is gone.
	keepAliveIdle     = 2 * time.Second
	keepAliveInterval = time.Second
	keepAliveCount    = 3
)

var (
	errClosed = errors.New("login: the client is closed")
	errAnswer = errors.New("login: answer of the authentication service")
)

// repeat tries until it works, the attempts are used up, ctx ends or trying again is useless.
func (c *Client) repeat(ctx context.Context, try func(context.Context) error) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		bounded, cancel := context.WithTimeout(ctx, c.attemptTimeout(attempt))
		err := try(bounded)
		cancel()
		if err == nil || attempt >= c.options.Attempts || ctx.Err() != nil || !repeatable(err) {
			return err
		}
		if c.options.Repeated != nil {
			c.options.Repeated(err)
		}
		timer := time.NewTimer(pause/2 + mathrand.N(pause/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		pause *= pauseGrowth
	}
}

// attemptTimeout grows, so that devices do not keep an AS busy with connections that they give up. A caller who wants no
// repetition gives all the time to the one attempt.
func (c *Client) attemptTimeout(attempt int) time.Duration {
	if attempt >= min(3, c.options.Attempts) {
		return c.options.Timeout
	}
	return c.options.Timeout * time.Duration(attempt) / 3
}

// repeatable says whether another connection may end better: not with a service that is not the AS, and not after Close.
func repeatable(err error) bool {
	return !errors.As(err, new(*tls.CertificateVerificationError)) && !errors.As(err, new(tls.AlertError)) &&
		!errors.As(err, new(tls.RecordHeaderError)) && !errors.Is(err, errClosed) && !errors.Is(err, errAnswer)
}
