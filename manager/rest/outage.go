package rest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/manager/store"
)

// outage remembers that the store did not answer, so that not every reader
// waits for it in vain: while it is away one reader at a time asks it, at most
// once per outageMemory, and the others are told at once.
type outage struct {
	now func() time.Time

	mu      sync.Mutex
	away    bool      // under mu
	askedAt time.Time // under mu: when the store was last asked in vain
	asking  bool      // under mu: somebody finds out whether it is back
}

// ask runs a read of the store that may take readPatience. It reports away when
// the store does not answer, or did not a moment ago and was not asked.
func (o *outage) ask(ctx context.Context, read func(context.Context) error) (away bool, err error) {
	if !o.mayAsk() {
		return true, nil
	}
	bounded, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	err = read(bounded)
	away = ctx.Err() == nil && (errors.Is(err, store.ErrUnavailable) || (errors.Is(err, context.DeadlineExceeded) && bounded.Err() != nil))
	o.learn(away, ctx.Err() != nil)
	if away {
		return true, nil
	}
	return false, err
}

func (o *outage) mayAsk() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.away {
		return true
	}
	waited := o.now().Sub(o.askedAt)
	if o.asking || (waited >= 0 && waited < outageMemory) {
		return false
	}
	o.asking = true
	return true
}

// learn notes what a read found out; one that its client gave up found nothing.
func (o *outage) learn(away, givenUp bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asking = false
	if givenUp {
		return
	}
	o.away = away
	if away {
		o.askedAt = o.now()
	}
}
