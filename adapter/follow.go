package adapter

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/login"
)

// Phases of the adapter's own login, as in the status.
const (
	phaseLoggingIn = "LoggingIn"
	phaseUp        = "Up"
)

// follow keeps logged in and follows the general-node list until ctx ends; then it lets all general nodes leave.
func (a *Adapter) follow(ctx context.Context) {
	defer a.nodes.stop()
	l := &list{adapter: a.config.Name, file: a.listFile, apply: a.nodes.apply, confirmed: &a.listConfirmed, now: time.Now, log: a.log}
	l.load(ctx)
	for ctx.Err() == nil {
		grant, err := a.device.LoginUntil(ctx, func(err error) { a.setPhase(phaseLoggingIn, err.Error()) })
		if err != nil {
			return // ctx ended
		}
		a.answered()
		manager, err := client.New(client.Options{Server: grant.ManagerURL, CA: a.trust.TLSCA, Token: client.StaticToken(grant.ManagerToken)})
		if err != nil {
			a.setPhase(phaseLoggingIn, err.Error())
			a.log.Error("the AS names a manager that cannot be used", "error", err)
			pause(ctx, 6, err)
			continue
		}
		a.manager.Store(manager)
		a.watch(ctx, l, manager, halfLife(grant))
		manager.Close()
	}
}

// watch follows the list with one manager token, until that is half way to its end or is refused.
func (a *Adapter) watch(ctx context.Context, l *list, manager *client.Client, life time.Duration) {
	end := time.Now().Add(life)
	for attempt := 0; ctx.Err() == nil && time.Now().Before(end); {
		started := time.Now()
		watchCtx, cancel := context.WithDeadline(ctx, end)
		a.setPhase(phaseUp, "")
		a.metrics.following.Set(1)
		err := l.follow(watchCtx, manager)
		a.metrics.following.Set(0)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if client.StatusOf(err) == http.StatusUnauthorized {
			a.log.Warn("the manager refuses the adapter's token; logging in again", "error", err)
			pause(ctx, attempt, err)
			return
		}
		if errors.Is(err, client.ErrWatchEnded) || time.Since(started) > watchIdle {
			attempt = 0 // it worked for a while
		}
		if !errors.Is(err, client.ErrWatchEnded) && time.Now().Before(end) {
			a.setPhase(phaseUp, "manager: "+err.Error())
			a.log.Warn("the general-node list is not followed at the moment; what is known stays in effect", "error", err,
				"listConfirmed", time.Unix(a.listConfirmed.Load(), 0).UTC(), "warning", ageWarning(a.listConfirmed.Load(), time.Now()))
		}
		pause(ctx, min(attempt, maxFollowBackoff), err)
		attempt++
	}
}

// halfLife is how long a token is used; the AS names no end for it only in a fault.
func halfLife(grant *login.Grant) time.Duration {
	return max(time.Minute, grant.NotAfter.Sub(grant.ServerTime)/2)
}

func (a *Adapter) setPhase(phase, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.phase, a.reason = phase, reason
}

func joinReasons(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(r string) bool { return r == "" }), "; ")
}
