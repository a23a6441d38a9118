package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/overlay"
)

// Labels and annotations of apply sets.
const (
	applySetLabel   = "cyphonic/applyset"
	pruneAnnotation = "cyphonic/prune" // disabled: never pruned
)

// CreatePlan does what was asked for on an overlay of the store, with the code
// that would do it, and tells what came of it.
func (s *Server) CreatePlan(ctx context.Context, r CreatePlanRequestObject) (CreatePlanResponseObject, error) {
	if err := s.permitKind(ctx, access.Create, access.KindPlan); err != nil {
		return nil, err
	}
	request := r.Body
	if n := len(request.Items) + len(request.Deletions); n > maxPlanItems {
		return nil, refuse(http.StatusBadRequest, typeInvalid, "the plan has %d items and deletions, at most %d are possible; plan in parts", n, maxPlanItems)
	}
	if request.Prune && request.ApplySet == "" {
		return nil, refuseField(http.StatusBadRequest, typeInvalid, "/applySet", "is missing: what is not among the items of an apply set can be pruned only if the set is named")
	}
	if n := len(request.FieldManager); n > maxFieldManager {
		return nil, refuseField(http.StatusBadRequest, typeInvalid, "/fieldManager", "is %d bytes long, at most %d are possible", n, maxFieldManager)
	}
	select {
	case s.planning <- struct{}{}:
		defer func() { <-s.planning }()
	default:
		return nil, refuse(http.StatusTooManyRequests, typeBlank, "%d plans are being made; try again in a second", cap(s.planning))
	}
	if err := s.cache.Fresh(ctx); err != nil {
		return nil, err
	}
	base := s.snapshot()
	p := &planner{
		request: request, views: base.views, server: s.on(overlay.New(base)),
		changed: map[objectKey]api.Object{}, seen: map[objectKey]bool{},
	}
	if p.manager = request.FieldManager; p.manager == "" {
		p.manager = managerOf(ctx)
	}
	plan, err := p.make(ctx)
	if err != nil {
		return nil, err
	}
	return answerJSON(plan)
}

// VisitCreatePlanResponse writes the answer.
func (a *answer) VisitCreatePlanResponse(w http.ResponseWriter) error { return a.write(w) }

// objectKey names a resource.
type objectKey struct{ kind, name string }

// planner makes one plan. It lives in the goroutine of its request.
type planner struct {
	request *api.PlanRequest
	server  *Server // on an overlay
	views   views
	manager string
	changed map[objectKey]api.Object // as they would be; nil: gone
	seen    map[objectKey]bool       // the resources that are among the items
}

// item is one resource of a plan.
type item struct {
	body   json.RawMessage
	kind   api.Kind
	result api.PlanResult
}

func (p *planner) make(ctx context.Context) (api.Plan, error) {
	items := make([]*item, len(p.request.Items))
	for i, body := range p.request.Items {
		items[i] = p.identify(body)
	}
	ordered := slices.Clone(items)
	slices.SortStableFunc(ordered, func(a, b *item) int { return a.kind.Rank - b.kind.Rank })
	for _, it := range ordered {
		if it.result.Verdict == "" {
			if err := p.apply(ctx, it); err != nil {
				return api.Plan{}, err
			}
		}
	}
	removals := append(p.deletions(), p.pruned(ctx)...)
	ordered = slices.Clone(removals)
	slices.SortStableFunc(ordered, func(a, b *item) int { return b.kind.Rank - a.kind.Rank })
	for _, it := range ordered {
		if it.kind.New == nil {
			continue
		}
		if err := p.remove(ctx, it); err != nil {
			return api.Plan{}, err
		}
	}
	out := api.Plan{Results: make([]api.PlanResult, 0, len(items)+len(removals)), Reachability: p.reachability(ctx)}
	for _, it := range append(items, removals...) {
		out.Results = append(out.Results, it.result)
	}
	return out, nil
}

// identify finds out which resource a body is about.
func (p *planner) identify(body json.RawMessage) *item {
	it := &item{body: body}
	var head struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	err := json.Unmarshal(body, &head)
	it.result.Kind, it.result.Name = head.Kind, head.Metadata.Name
	kind, ok := api.KindNamed(head.Kind)
	key := objectKey{head.Kind, head.Metadata.Name}
	switch {
	case err != nil:
		p.refuse(it, refuse(http.StatusBadRequest, typeInvalid, "the item is no resource: %v", err))
	case !ok || kind.ReadOnly:
		p.refuse(it, refuseField(http.StatusBadRequest, typeInvalid, "/kind", "is %q, which is no kind that can be applied", head.Kind))
	case head.Metadata.Name == "":
		p.refuse(it, refuseField(http.StatusBadRequest, typeInvalid, "/metadata/name", "is missing"))
	case p.seen[key]:
		p.refuse(it, refuseField(http.StatusBadRequest, typeInvalid, "/metadata/name", "%s %q is among the items twice", head.Kind, head.Metadata.Name))
	default:
		p.seen[key], it.kind = true, kind
	}
	return it
}

func (p *planner) refuse(it *item, refusal *problem) {
	problem := refusal.encode("", "")
	it.result.Verdict, it.result.Problem = api.PlanVerdictRefused, problem
}

// apply applies an item. The error is that no plan can be made.
func (p *planner) apply(ctx context.Context, it *item) error {
	before, err := p.before(ctx, it)
	if err != nil {
		return err
	}
	a, err := p.server.patch(ctx, it.kind.Plural, it.result.Name, patchBody{Apply: &it.body}, writeParams{FieldManager: p.manager, Force: p.request.Force})
	if err != nil {
		return p.judge(it, before, err)
	}
	it.result.Before, it.result.After = before.text, bytes.TrimSpace(a.body)
	switch {
	case a.status == http.StatusCreated:
		it.result.Verdict = api.PlanVerdictCreated
	case a.etag == before.version:
		it.result.Verdict = api.PlanVerdictUnchanged
		return nil
	default:
		it.result.Verdict = api.PlanVerdictConfigured
	}
	o := it.kind.New()
	if err := json.Unmarshal(a.body, o); err != nil {
		return fmt.Errorf("decode a planned %s: %w", it.kind.Name, err)
	}
	p.changed[objectKey{it.kind.Name, it.result.Name}] = o
	return nil
}

// remove deletes the resource of an item.
func (p *planner) remove(ctx context.Context, it *item) error {
	before, err := p.before(ctx, it)
	if err != nil {
		return err
	}
	a, err := p.server.delete(ctx, it.kind.Plural, it.result.Name, writeParams{})
	if err != nil {
		return p.judge(it, before, err)
	}
	it.result.Before = before.text
	p.changed[objectKey{it.kind.Name, it.result.Name}] = nil
	o := it.kind.New()
	if err := json.Unmarshal(a.body, o); err != nil {
		return fmt.Errorf("decode a deleted %s: %w", it.kind.Name, err)
	}
	if deleting(o) {
		it.result.After = bytes.TrimSpace(a.body)
	}
	return nil
}

// earlier is a resource before the plan.
type earlier struct {
	text    json.RawMessage // empty: there was none, or it may not be seen
	version string
}

func (p *planner) before(ctx context.Context, it *item) (earlier, error) {
	got, err := p.server.load(ctx, it.kind, it.result.Name)
	if errors.Is(err, store.ErrNotFound) {
		return earlier{}, nil
	}
	if err != nil {
		return earlier{}, err
	}
	if !p.may(ctx, access.Get, got.object) { // what is wrong with the item may be found before its rights are asked for
		return earlier{version: got.object.Meta().ResourceVersion}, nil
	}
	if err := p.server.observed(ctx, got.object); err != nil {
		return earlier{}, err
	}
	text, err := encodeLine(got.object)
	return earlier{text: bytes.TrimSpace(text), version: got.object.Meta().ResourceVersion}, err
}

// may decides what a plan shows. The cache, which all of it comes from, is fresh.
func (p *planner) may(ctx context.Context, verb access.Verb, o api.Object) bool {
	return p.server.access.Decide(principalOf(ctx), p.server.target(ctx, verb, o)).Allowed
}

// judge makes a refusal the result of an item; what is no refusal ends the
// plan. Who may not see the resource does not see it here.
func (p *planner) judge(it *item, before earlier, err error) error {
	refusal := asProblem(err)
	if refusal.status >= http.StatusInternalServerError {
		return err
	}
	if refusal.status != http.StatusForbidden && refusal.status != http.StatusNotFound {
		it.result.Before = before.text
	}
	p.refuse(it, refusal)
	return nil
}

// deletions are the resources that shall be deleted by name.
func (p *planner) deletions() []*item {
	var out []*item
	for _, ref := range p.request.Deletions {
		it := &item{result: api.PlanResult{Kind: ref.Kind, Name: ref.Name, Verdict: api.PlanVerdictDeleted}}
		kind, ok := api.KindNamed(ref.Kind)
		key := objectKey{ref.Kind, ref.Name}
		switch {
		case !ok || kind.ReadOnly:
			p.refuse(it, refuseField(http.StatusBadRequest, typeInvalid, "/kind", "is %q, which is no kind that can be deleted", ref.Kind))
		case p.seen[key]:
			p.refuse(it, refuse(http.StatusBadRequest, typeInvalid, "%s %q is among the items or deletions already", ref.Kind, ref.Name))
		default:
			p.seen[key], it.kind = true, kind
		}
		out = append(out, it)
	}
	return out
}

// pruned are the resources of the apply set that are not among the items, as
// far as who asks may see or delete them.
func (p *planner) pruned(ctx context.Context) []*item {
	if !p.request.Prune {
		return nil
	}
	var out []*item
	for _, kind := range api.Kinds() {
		if kind.ReadOnly {
			continue
		}
		for _, got := range p.views.labelled(kind, applySetLabel, p.request.ApplySet) {
			o := kind.New()
			if p.seen[objectKey{kind.Name, got.Name}] || json.Unmarshal(got.Value, o) != nil || o.Meta().Annotations[pruneAnnotation] == "disabled" {
				continue
			}
			if !p.may(ctx, access.Get, o) && !p.may(ctx, access.Delete, o) {
				continue
			}
			out = append(out, &item{kind: kind, result: api.PlanResult{Kind: kind.Name, Name: got.Name, Verdict: api.PlanVerdictPruned}})
		}
	}
	return out
}
