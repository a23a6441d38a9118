package events

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Reasons of the events about tokens.
const (
	reasonTokenUsed    = "TokenUsed"
	reasonTokenExpired = "TokenExpired"
	reasonEnrolled     = "Enrolled"
)

// Tokens notices that enrolment tokens are used, which the AS does, and that
// tokens expire, which nobody does. One manager of all runs it.
type Tokens struct {
	Cache    *cache.Cache
	Recorder *Recorder
	Now      func() time.Time
}

// Run notices until ctx ends.
func (t Tokens) Run(ctx context.Context) error {
	looked := t.Now()
	for {
		err := t.follow(ctx, &looked)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, store.ErrCompacted) { // else: too far behind, go on with what happens from now on
			return err
		}
	}
}

// follow notices the changes from now on, and looks for expired tokens in
// between. looked is when it last did.
func (t Tokens) follow(ctx context.Context, looked *time.Time) error {
	changes, err := t.Cache.Subscribe(keyspace.EnrollmentTokens, t.Cache.View(keyspace.EnrollmentTokens).Revision(), nil)
	if err != nil {
		return err
	}
	defer changes.Close()
	for {
		wait, cancel := context.WithTimeout(ctx, expiryInterval)
		batch, _, err := changes.Next(wait)
		due := wait.Err() != nil
		cancel()
		if ctx.Err() != nil || (err != nil && !due) {
			return err
		}
		for _, c := range batch {
			t.noticeUse(c)
		}
		if now := t.Now(); due || now.Sub(*looked) >= expiryInterval {
			t.noticeExpiry(*looked, now)
			*looked = now
		}
	}
}

// noticeUse writes an event about the token, and one about the device.
func (t Tokens) noticeUse(c cache.Change) {
	if c.Before == nil || c.After == nil {
		return
	}
	var before, after api.EnrollmentToken
	if json.Unmarshal(c.Before.Value, &before) != nil || json.Unmarshal(c.After.Value, &after) != nil {
		return
	}
	if before.Status.Phase == api.TokenPhaseUsed || after.Status.Phase != api.TokenPhaseUsed {
		return
	}
	kind, name := string(after.Spec.SubjectKind), after.Spec.SubjectName
	network := t.networkOf(kind, name)
	t.Recorder.Event(reference(&after), network, api.EventTypeNormal, reasonTokenUsed, kind+" "+name+" enrolled its key with this token")
	t.Recorder.Event(api.ObjectReference{Kind: kind, Name: name}, network, api.EventTypeNormal, reasonEnrolled, "enrolled its key with the enrolment token "+after.Metadata.Name)
}

func (t Tokens) networkOf(kindName, name string) string {
	kind, ok := api.KindNamed(kindName)
	if !ok {
		return ""
	}
	item, ok := t.Cache.View(kind.Plural).Get(name)
	if !ok {
		return ""
	}
	return item.Network
}

// noticeExpiry writes an event for each token that expired in a span of time.
func (t Tokens) noticeExpiry(after, until time.Time) {
	within := func(at time.Time) bool { return at.After(after) && !at.After(until) }
	t.Cache.View(keyspace.EnrollmentTokens).Ascend("", func(i *cache.Item) bool {
		var token api.EnrollmentToken
		if json.Unmarshal(i.Value, &token) == nil && token.Status.Phase == api.TokenPhasePending && within(token.Status.ExpirationTimestamp) {
			kind, name := string(token.Spec.SubjectKind), token.Spec.SubjectName
			t.Recorder.Event(reference(&token), t.networkOf(kind, name), api.EventTypeWarning, reasonTokenExpired,
				"nobody used the token in time; delete it and create another for "+kind+" "+name)
		}
		return true
	})
	t.Cache.View(keyspace.APITokens).Ascend("", func(i *cache.Item) bool {
		var token api.APIToken
		if json.Unmarshal(i.Value, &token) == nil && within(token.Status.ExpirationTimestamp) {
			t.Recorder.Event(reference(&token), "", api.EventTypeWarning, reasonTokenExpired, "requests with the token are refused from now on; create another if it is still needed")
		}
		return true
	})
}

func reference(o api.Object) api.ObjectReference {
	return api.ObjectReference{Kind: o.KindName(), Name: o.Meta().Name, Uid: o.Meta().Uid}
}
