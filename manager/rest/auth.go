package rest

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
)

// caller is who makes a request, from where, and what for.
type caller struct {
	who    access.Principal
	remote string // address; empty: this process
	route  route
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

func withCaller(ctx context.Context, c caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// principalOf returns the subject of a request; the zero Principal, who may
// nothing, if there is none.
func principalOf(ctx context.Context) access.Principal { return callerOf(ctx).who }

// WithPrincipal lets parts of the manager itself make requests to the handler:
// the request is that of the principal and needs no credential.
func WithPrincipal(ctx context.Context, who access.Principal) context.Context {
	c := callerOf(ctx)
	c.who = who
	return withCaller(ctx, c)
}

// authorise lets a request pass if its subject may do such a thing at all.
// Whether it may do it to a certain resource is decided by permit, where the
// resource is known. What is refused is noted in the audit log.
func (s *Server) authorise(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		route, known := s.routes[r.Method+" "+c.Path()]
		if known && route.access == accessPublic {
			return next(c)
		}
		from := callerOf(r.Context())
		from.route = route
		if from.who.Kind == "" { // not of this process
			from.remote = c.RealIP()
			who, err := s.access.Authenticate(r.Context(), r)
			if err != nil {
				err = s.refusedCredential(err)
				s.noteRefusal(withCaller(r.Context(), from), c.Param("name"), err)
				return err
			}
			from.who = who
		}
		ctx := withCaller(r.Context(), from)
		c.SetRequest(r.WithContext(ctx))
		err := s.mayCall(ctx, c)
		if err == nil && known && route.read {
			err = s.auditRead(ctx)
		}
		if err == nil {
			err = next(c)
		}
		s.noteRefusal(ctx, c.Param("name"), err)
		if err == nil {
			s.noteRehearsal(ctx, c.Param("name"), c.Response().Status, c.QueryParam("dryRun"))
		}
		return err
	}
}

// refusedCredential turns what package access says into an answer.
func (s *Server) refusedCredential(err error) error {
	var refusal *access.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	p := refuse(http.StatusUnauthorized, typeBlank, "%s", refusal.Detail)
	switch refusal.Reason {
	case access.ReasonLimited:
		p.status = http.StatusTooManyRequests
	case access.ReasonUnavailable:
		p.status = http.StatusServiceUnavailable
	case access.ReasonGone, access.ReasonDisabled:
		p.status = http.StatusForbidden
	}
	p.retryAfter = int(math.Ceil(refusal.RetryAfter.Seconds()))
	return &denial{problem: p, credential: refusal.Reason}
}

// mayCall decides about the operation as a whole.
func (s *Server) mayCall(ctx context.Context, c echo.Context) error {
	from := callerOf(ctx)
	verbs := from.route.verbs
	if isWatch(c) {
		verbs = []access.Verb{access.Watch}
	}
	switch from.route.access {
	case accessAdapter:
		return s.mayCallForAdapter(ctx, c.Param("name"), verbs)
	case accessResource:
	default: // everybody who is known; an unknown path is a matter of the router
		return nil
	}
	may := func() bool {
		for _, verb := range verbs {
			if from.route.everywhere && s.access.Decide(from.who, access.Target{Verb: verb, Kind: from.route.kind}).Allowed {
				return true
			}
			if !from.route.everywhere && s.access.MayAny(from.who, verb, from.route.kind) {
				return true
			}
		}
		return false
	}
	if s.againIfNot(ctx, may) {
		return nil
	}
	return s.deny(ctx, access.Target{Verb: verbs[0], Kind: from.route.kind, Name: c.Param("name"), Somewhere: !from.route.everywhere})
}

// againIfNot asks once more with what the store has now: another manager may
// have given the right a moment ago.
func (s *Server) againIfNot(ctx context.Context, may func() bool) bool {
	if may() {
		return true
	}
	return s.access.Fresh(ctx) == nil && may()
}

// mayCallForAdapter decides about the paths of an adapter: they are its own.
// Others need the right on what they reach there.
func (s *Server) mayCallForAdapter(ctx context.Context, name string, verbs []access.Verb) error {
	from := callerOf(ctx)
	if from.who.Kind == access.Adapter && from.who.Name == name {
		return nil
	}
	t := access.Target{Verb: verbs[0], Kind: from.route.kind, Name: name}
	may := func() bool {
		if item, ok := s.cache.View(keyspace.Adapters).Get(name); ok {
			t.Network = item.Network
		}
		return s.access.Decide(from.who, t).Allowed
	}
	if from.who.Kind != access.Adapter && s.againIfNot(ctx, may) {
		return nil
	}
	told := t
	if !s.access.Decide(from.who, access.Target{Verb: access.Get, Kind: "Adapter", Network: t.Network}).Allowed {
		told.Network = "" // as of an adapter that is not there
	}
	return s.denyAs(ctx, t, told)
}

// denial is a problem because of missing rights, for the audit log.
type denial struct {
	*problem
	target     access.Target
	credential string // why the credential was refused, if that is the reason
}

// Unwrap returns the problem.
func (d *denial) Unwrap() error { return d.problem }

// deny refuses something with what is missing.
func (s *Server) deny(ctx context.Context, t access.Target) error { return s.denyAs(ctx, t, t) }

// denyAs says less than the audit log gets to know.
func (s *Server) denyAs(ctx context.Context, t, told access.Target) error {
	who := principalOf(ctx)
	s.metrics.denied.WithLabelValues("forbidden").Inc()
	return &denial{problem: refuse(http.StatusForbidden, typeBlank, "%s", s.access.Decide(who, told).Reason), target: t}
}

// permit decides whether the subject of the request may do something to
// resources: to the one that there is and, for a change, to what it shall become
// after that. What may not be seen is as good as absent: 404 instead of 403.
func (s *Server) permit(ctx context.Context, verb access.Verb, objects ...api.Object) error {
	who := principalOf(ctx)
	if who.Everything() {
		return nil
	}
	denied := -1
	may := func() bool {
		// From the last: what the client asks for is refused in the same way whether there is something that it may not see or not.
		for denied = len(objects) - 1; denied >= 0; denied-- {
			if !s.access.Decide(who, s.target(ctx, verb, objects[denied])).Allowed {
				return false
			}
		}
		return true
	}
	if s.againIfNot(ctx, may) {
		return nil
	}
	o := objects[denied]
	t := s.target(ctx, verb, o)
	if denied == 0 && verb != access.Create && !s.access.Decide(who, s.target(ctx, access.Get, o)).Allowed {
		s.metrics.denied.WithLabelValues("hidden").Inc()
		return &denial{problem: notFound(kindNamed(o), o.Meta().Name), target: t}
	}
	return s.denyAs(ctx, t, s.told(who, o, t))
}

// told is what a refusal speaks of: the network of an enrolment token is that of
// its device, which who asks may not know to be there.
func (s *Server) told(who access.Principal, o api.Object, t access.Target) access.Target {
	if _, ok := o.(*api.EnrollmentToken); !ok || t.Network == "" {
		return t
	}
	if !s.access.Decide(who, access.Target{Verb: access.Get, Kind: t.Kind, Network: t.Network}).Allowed {
		t.Network = ""
	}
	return t
}

func (s *Server) target(ctx context.Context, verb access.Verb, o api.Object) access.Target {
	return access.Target{Verb: verb, Kind: o.KindName(), Network: s.networkOfObject(ctx, o), Name: o.Meta().Name}
}

// networkOfObject is access.NetworkOf with the devices of the cache, or of the
// store: one may have been created a moment ago, or in a rehearsal only.
func (s *Server) networkOfObject(ctx context.Context, o api.Object) string {
	return access.NetworkOf(o, func(kindName, name string) (api.Object, bool) {
		if device, ok := s.cached(kindName, name); ok && !s.rehearsal {
			return device, true
		}
		kind, ok := api.KindNamed(kindName)
		if !ok {
			return nil, false
		}
		got, err := s.load(ctx, kind, name)
		return got.object, err == nil
	})
}

// cached looks a resource up in the cache.
func (s *Server) cached(kindName, name string) (api.Object, bool) {
	kind, ok := api.KindNamed(kindName)
	if !ok {
		return nil, false
	}
	item, ok := s.cache.View(kind.Plural).Get(name)
	if !ok {
		return nil, false
	}
	o := kind.New()
	return o, json.Unmarshal(item.Value, o) == nil
}

// permitKind asks for a right in at least one network. Whether it is the right
// one is to be asked with permitIn when the network is known.
func (s *Server) permitKind(ctx context.Context, verb access.Verb, kind string) error {
	if s.againIfNot(ctx, func() bool { return s.access.MayAny(principalOf(ctx), verb, kind) }) {
		return nil
	}
	return s.deny(ctx, access.Target{Verb: verb, Kind: kind, Somewhere: true})
}

// permitIn asks for a right in one network; "" asks for it in all.
func (s *Server) permitIn(ctx context.Context, verb access.Verb, kind, network string) error {
	t := access.Target{Verb: verb, Kind: kind, Network: network}
	if s.againIfNot(ctx, func() bool { return s.access.Decide(principalOf(ctx), t).Allowed }) {
		return nil
	}
	return s.deny(ctx, t)
}

// hidden says that there is no such resource, in the same words as permit does
// of one that may not be seen. Other errors stay as they are.
func (s *Server) hidden(_ context.Context, kind api.Kind, name string, err error) error {
	return orNotFound(err, kind, name)
}

// stillMay says whether the right to watch has ended, or is another than when
// the watch began: then the client has to list again.
func (s *Server) stillMay(_ context.Context, who access.Principal, q *query) error {
	if err := s.access.Valid(who); err != nil {
		return s.refusedCredential(err)
	}
	if q.rights != s.scopeOf(who, q) {
		return refuse(http.StatusForbidden, typeBlank, "what %s may see has changed; list again", who)
	}
	return nil
}

// scopeOf says what of a watch a principal may see, in a form to compare.
func (s *Server) scopeOf(who access.Principal, q *query) string {
	if q.adapter == "" {
		return s.access.Scope(who, access.Watch, q.kind.Name)
	}
	if who.Kind == access.Adapter {
		return access.ScopeAll
	}
	// The path was authorised for the network of the adapter.
	return strings.Join([]string{s.access.Scope(who, access.List, q.kind.Name), s.access.Scope(who, access.Watch, q.kind.Name)}, "|")
}
