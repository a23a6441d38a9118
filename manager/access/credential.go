package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Reasons of refusals; they are values of a metric.
const (
	ReasonMissing     = "missing"     // there is no credential
	ReasonSeveral     = "several"     // there is more than one
	ReasonWrong       = "wrong"       // it is not good, or no longer
	ReasonLimited     = "limited"     // the source failed too often
	ReasonUnavailable = "unavailable" // who has to be asked does not answer
	ReasonGone        = "gone"        // its adapter does not exist any more
	ReasonDisabled    = "disabled"    // its adapter is disabled
)

// Refusal is why a request is not served. Its text may be shown to the one who made the request, and says no more about why a
// credential is wrong than they know anyway.
type Refusal struct {
	Reason     string
	Detail     string
	RetryAfter time.Duration // when to try again, for ReasonLimited and ReasonUnavailable
	Cause      error         // for the log of debugging; holds no secret
}

// Error returns the detail.
func (r *Refusal) Error() string { return r.Detail }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// errWrong says that a credential is not good. It is never shown.
var errWrong = errors.New("the credential is wrong")

// Authenticate finds out who makes a request. The error is a *Refusal, ctx.Err(), or wraps store.ErrUnavailable.
func (a *Access) Authenticate(ctx context.Context, r *http.Request) (Principal, error) {
	p, err := a.authenticate(ctx, r)
	var refusal *Refusal
	if errors.As(err, &refusal) {
		a.refusals.WithLabelValues(refusal.Reason).Inc()
		if refusal.Cause != nil {
			a.log.Debug("a credential was refused", "reason", refusal.Reason, "remote", r.RemoteAddr, "cause", refusal.Cause)
		}
	}
	return p, err
}

func (a *Access) authenticate(ctx context.Context, r *http.Request) (Principal, error) {
	token, given, refusal := bearerOf(r.Header)
	if refusal != nil {
		return Principal{}, refusal
	}
	machine, certified, certificateErr := certificatePrincipal(r.TLS, a.now())
	switch {
	case given && certified:
		return Principal{}, &Refusal{Reason: ReasonSeveral, Detail: "the request has a client certificate and a token; send only one of them"}
	case !given && !certified:
		return Principal{}, &Refusal{Reason: ReasonMissing, Detail: "a credential is missing: send Authorization: Bearer <token> (`cyphonicctl login`, or the token that `cyphonicctl init` wrote), or use a client certificate"}
	}
	if !a.ready() && !a.isAdministrator(token) {
		return Principal{}, fmt.Errorf("the cache has not been filled yet: %w", store.ErrUnavailable)
	}
	source, now := sourceOf(r.RemoteAddr), a.now()
	blocked := a.failures.wait(source, now) > 0
	p, err := machine, certificateErr
	if given {
		p, err = a.identify(ctx, token, !blocked)
	} else if err != nil {
		err = fmt.Errorf("%w: %w", errWrong, err)
	}
	switch {
	case errors.Is(err, errProvider):
		return Principal{}, &Refusal{Reason: ReasonUnavailable, Detail: "the OpenID provider does not answer, so that the ID token cannot be verified; try again later, or use another credential", RetryAfter: providerRetry, Cause: err}
	case errors.Is(err, errWrong):
		if wait := a.failures.add(source, now); wait > 0 {
			return Principal{}, &Refusal{Reason: ReasonLimited, Detail: "too many wrong credentials came from this address; wait before you try again", RetryAfter: wait, Cause: err}
		}
		return Principal{}, &Refusal{Reason: ReasonWrong, Detail: "the credential is not valid, or not any more; log in again (`cyphonicctl login`), or use the token that `cyphonicctl init` wrote", Cause: err}
	case err != nil:
		return Principal{}, err
	}
	return p, nil
}

// ready says whether the cache shows anything: before, nobody's rights are known.
func (a *Access) ready() bool {
	select {
	case <-a.cache.Ready():
		return true
	default:
		return false
	}
}

// bearerOf takes the token of RFC 6750 section 2.1. Tokens in the query or in the body are not looked for.
func bearerOf(h http.Header) (token string, given bool, refusal *Refusal) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", false, nil
	}
	if len(values) > 1 {
		return "", false, &Refusal{Reason: ReasonSeveral, Detail: "the request has more than one Authorization header; send one"}
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(token) == "" {
		return "", false, &Refusal{Reason: ReasonMissing, Detail: "the Authorization header is not of the form: Bearer <token>"}
	}
	if strings.ContainsAny(token, " ,") {
		return "", false, &Refusal{Reason: ReasonSeveral, Detail: "the Authorization header has more than one token; send one"}
	}
	return token, true, nil
}

// identify finds out whose token it is. The sorts are told apart by how they begin, so that a token is only ever taken for one.
// thorough is false for a source that failed too often: for it nobody else is asked.
func (a *Access) identify(ctx context.Context, token string, thorough bool) (Principal, error) {
	switch {
	case len(token) > maxCredential:
		return Principal{}, fmt.Errorf("%w: it has %d bytes", errWrong, len(token))
	case strings.HasPrefix(token, identity.AccessTokenPrefix):
		return a.identifyAdapter(ctx, token, thorough)
	case strings.HasPrefix(token, identity.APITokenPrefix):
		return a.identifyAPIToken(ctx, token, thorough)
	case a.users != nil && strings.HasPrefix(token, "ey") && strings.Count(token, ".") == 2: // JSON, as of RFC 7519
		p, err := a.users.principal(ctx, token, thorough)
		if err != nil && !errors.Is(err, errProvider) {
			err = fmt.Errorf("%w: %w", errWrong, err)
		}
		return p, err
	case a.isAdministrator(token):
		return Principal{Kind: Admin, Name: "admin"}, nil
	}
	return Principal{}, fmt.Errorf("%w: it is of no known sort, or not the administrator's", errWrong)
}

func (a *Access) identifyAdapter(ctx context.Context, token string, thorough bool) (Principal, error) {
	p, err := a.adapters.principal(ctx, token)
	if err != nil {
		return Principal{}, err
	}
	var refusal *Refusal
	if err := a.checkAdapter(p); !errors.As(err, &refusal) {
		return p, err
	}
	if thorough {
		if err := a.freshEnough(ctx); err != nil {
			return Principal{}, err
		}
	}
	return p, a.checkAdapter(p)
}

// identifyAPIToken looks a token up by its hash, which needs no constant time: whoever knows a hash does not know the token.
func (a *Access) identifyAPIToken(ctx context.Context, token string, thorough bool) (Principal, error) {
	hash := identity.HashOpaqueToken(token)
	found, ok := a.table().hashes[hash]
	if !ok && thorough {
		if err := a.freshEnough(ctx); err != nil {
			return Principal{}, err
		}
		found, ok = a.table().hashes[hash]
	}
	switch {
	case !ok:
		return Principal{}, fmt.Errorf("%w: there is no such API token", errWrong)
	case !a.now().Before(found.notAfter):
		return Principal{}, fmt.Errorf("%w: API token %s expired at %s", errWrong, found.name, found.notAfter.UTC().Format(time.RFC3339))
	}
	return Principal{Kind: Token, Name: found.name, UID: found.uid, NotAfter: found.notAfter}, nil
}

// freshEnough is Fresh, if the store answers: if it does not, what the cache has is the best there is.
func (a *Access) freshEnough(ctx context.Context) error {
	err := a.Fresh(ctx)
	if errors.Is(err, store.ErrUnavailable) || (errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil) {
		return nil
	}
	return err
}

// Valid says whether a principal that was authenticated some time ago still is who it was: its credential has not ended, its token
// or adapter still exists. It asks the cache only. The error is a *Refusal.
func (a *Access) Valid(p Principal) error {
	ended := func(detail string) error { return &Refusal{Reason: ReasonWrong, Detail: detail} }
	if !p.NotAfter.IsZero() && !a.now().Before(p.NotAfter) {
		return ended("the credential has expired; log in again")
	}
	switch p.Kind {
	case "":
		return ended("there is no credential")
	case Adapter:
		return a.checkAdapter(p)
	case Token:
		if t, ok := a.table().named[p.Name]; !ok || t.uid != p.UID {
			return ended("the token was deleted")
		}
	}
	return nil
}
