package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

// FollowOptions choose what Follow shows.
type FollowOptions struct {
	WatchOptions
	Patience time.Duration     // how long managers that do not answer are tried; 0: without end
	OnState  func(FollowState) // called when the state of the stream changes; nil: nobody wants to know
}

// FollowState is what Follow does at the moment.
type FollowState struct {
	Phase FollowPhase
	Err   error         // why the stream before ended; nil where it ended in order
	Wait  time.Duration // of FollowWaiting: until the next attempt
}

// FollowPhase is one of the constants below.
type FollowPhase string

// Phases of Follow.
const (
	FollowOpen    FollowPhase = "Open"    // changes come in
	FollowWaiting FollowPhase = "Waiting" // the stream ended; another one will be opened
	FollowAnew    FollowPhase = "Anew"    // the revision to go on from is no longer kept: what differs from what was seen is handed over as changes
)

// Follow hands over changes until ctx ends, which is no error, or handle returns one. It opens the stream again wherever it breaks, at another manager if need be,
// and goes on where it was. Where the managers no longer have that revision it begins anew, and makes the changes that were missed out of the difference between what
// there is and what it has handed over: ADDED, MODIFIED, and DELETED with an object that has nothing but its name, uid and resourceVersion. A resource that appeared
// before o.ResourceVersion and went while changes were missed is the one thing that it cannot tell.
//
// Errors that would not go away by themselves (status 400, 401, 403, 404) end it.
func (c *Client) Follow(ctx context.Context, kind api.Kind, o FollowOptions, handle func(Change) error) error {
	f := follower{client: c, kind: kind, options: o, handle: handle, at: o.ResourceVersion, seen: map[string]identity{}}
	if f.options.OnState == nil {
		f.options.OnState = func(FollowState) {}
	}
	silent := time.Now()
	for failures := 0; ; {
		received, err := f.stream(ctx)
		var own *handlerError
		switch {
		case errors.As(err, &own):
			return own.error
		case ctx.Err() != nil:
			return nil
		case hopeless(err, received):
			return err
		}
		if received {
			failures, silent = 0, time.Now()
		}
		if o.Patience > 0 && time.Since(silent) > o.Patience {
			return err
		}
		wait := f.pause(err, failures)
		failures++
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// handlerError is what handle returned.
type handlerError struct{ error }

type follower struct {
	client  *Client
	kind    api.Kind
	options FollowOptions
	handle  func(Change) error
	at      string              // resourceVersion to go on from; "": from the beginning
	seen    map[string]identity // by name, what was handed over and not deleted
}

// identity tells a state of a resource from any other one.
type identity struct{ uid, version string }

func identityOf(o api.Object) identity {
	return identity{o.Meta().Uid, o.Meta().ResourceVersion}
}

// pause says what happened and how long to wait.
func (f *follower) pause(err error, failures int) time.Duration {
	if IsGone(err) {
		f.at = ""
		f.options.OnState(FollowState{Phase: FollowAnew, Err: err})
		return backoff(failures)
	}
	wait := max(backoff(failures), RetryAfter(err))
	if errors.Is(err, ErrWatchEnded) {
		err = nil
	}
	f.options.OnState(FollowState{Phase: FollowWaiting, Err: err, Wait: wait})
	return wait
}

// hopeless tells whether it is of no use to try again. A token that was good when the stream was opened may have ended: the next one is asked for once.
func hopeless(err error, received bool) bool {
	switch StatusOf(err) {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	case http.StatusUnauthorized:
		return !received
	case 0:
		return !isUnreachable(err) && !errors.Is(err, ErrWatchEnded) && !errors.Is(err, errBroken)
	}
	return false
}

// errBroken is the end of a stream that was open.
var errBroken = errors.New("the stream broke")

// stream follows one stream to its end and tells whether anything came.
func (f *follower) stream(ctx context.Context) (received bool, err error) {
	options := f.options.WatchOptions
	options.ResourceVersion = f.at
	watch, err := f.client.Watch(ctx, f.kind, options)
	if err != nil {
		return false, err
	}
	defer watch.Close()
	f.options.OnState(FollowState{Phase: FollowOpen})
	idle := time.AfterFunc(watchIdle, func() { _ = watch.Close() })
	defer idle.Stop()
	var missing map[string]identity // what was seen before and has not come yet, while the stream tells what there is
	if f.at == "" {
		missing = maps.Clone(f.seen)
	}
	for {
		event, err := watch.Next()
		if err != nil {
			return received, broken(err)
		}
		idle.Reset(watchIdle)
		received = true
		if missing != nil {
			event, err = f.present(event, missing)
			if event.Type == api.WatchEventTypeBOOKMARK {
				missing = nil
			}
		}
		if err == nil {
			err = f.pass(event)
		}
		if err != nil {
			return true, err
		}
		if missing == nil {
			f.at = event.Object.Meta().ResourceVersion
		}
	}
}

// present turns what there is into what has changed since it was seen; the bookmark after it brings the deletions. The event is without an object if nothing changed.
func (f *follower) present(event Change, missing map[string]identity) (Change, error) {
	meta := event.Object.Meta()
	if event.Type != api.WatchEventTypeBOOKMARK {
		before, known := missing[meta.Name]
		delete(missing, meta.Name)
		switch {
		case known && before == identityOf(event.Object):
			event.Object = nil
		case known && before.uid == meta.Uid:
			event.Type = api.WatchEventTypeMODIFIED
		case known: // another one of the same name
			return event, f.pass(f.deleted(meta.Name, before, meta.ResourceVersion))
		}
		return event, nil
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		if err := f.pass(f.deleted(name, missing[name], meta.ResourceVersion)); err != nil {
			return event, err
		}
	}
	return event, nil
}

func (f *follower) deleted(name string, before identity, resourceVersion string) Change {
	object := f.kind.New()
	*object.Meta() = api.ObjectMeta{Name: name, Uid: before.uid, ResourceVersion: resourceVersion}
	return Change{Type: api.WatchEventTypeDELETED, Object: object}
}

// pass hands an event over and remembers it.
func (f *follower) pass(event Change) error {
	if event.Object == nil {
		return nil
	}
	name := event.Object.Meta().Name
	switch event.Type {
	case api.WatchEventTypeADDED, api.WatchEventTypeMODIFIED:
		f.seen[name] = identityOf(event.Object)
	case api.WatchEventTypeDELETED:
		delete(f.seen, name)
	}
	if err := f.handle(event); err != nil {
		return &handlerError{err}
	}
	return nil
}

// broken marks the end of a stream that the manager did not bring about in order.
func broken(err error) error {
	if StatusOf(err) != 0 || errors.Is(err, ErrWatchEnded) || errors.Is(err, io.EOF) {
		return err
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}
