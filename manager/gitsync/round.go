package gitsync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/manager/gitsync/repository"
)

// memory is what a worker keeps between rounds. It is lost when another
// manager takes over.
type memory struct {
	fetched *set // the last commit that was read
	applied *set // the last commit that was applied completely
	origin  string
	settled *print // of the last round that had nothing to do; nil: it had something
}

// round is one look at the repository and what follows from it. It belongs to
// one goroutine.
type round struct {
	source  *api.GitSource
	secrets string // directory
	api     *client.Client
	memory  *memory
	status  *statusWriter
	log     *slog.Logger
	notify  func(kind api.EventType, reason, message string)
	created map[string]bool // resources that did not exist before this round
	print   func(*set) print
}

// manager is the field manager of the source.
func (r *round) manager() string { return "gitsource/" + r.source.Metadata.Name }

// run does the round. ok is false if it should be repeated soon.
func (r *round) run(ctx context.Context) (ok bool) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	wanted, fetched := r.fetch(ctx)
	if !fetched {
		// The server is away: what was applied is kept applied all the same.
		r.keep(ctx)
		return false
	}
	if len(wanted.failures) > 0 {
		r.refuse("Valid", wanted.commit, "InvalidManifests", wanted.failures)
		return r.keep(ctx)
	}
	return r.apply(ctx, wanted)
}

// fetch reads the newest commit, unless it was read before.
func (r *round) fetch(ctx context.Context) (*set, bool) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	where := r.where()
	if origin := where.URL + " " + where.Branch + " " + where.Path; r.memory.origin != origin {
		*r.memory = memory{origin: origin}
	}
	session, err := repository.Open(ctx, where)
	if err != nil {
		r.notFetched(err)
		return nil, false
	}
	defer session.Close()
	if r.memory.fetched == nil || r.memory.fetched.commit != session.Head() {
		tree, err := session.Read(ctx, session.Head())
		if err != nil {
			r.notFetched(err)
			return nil, false
		}
		r.memory.fetched = readSet(tree, r.source)
	}
	s := r.memory.fetched
	r.status.ObservedCommit = s.commit
	r.status.set("Fetched", api.ConditionStatusTrue, "Fetched", fmt.Sprintf("commit %s with %s", short(s.commit), count(s.files, "manifest")))
	return s, true
}

func (r *round) where() repository.Source {
	return repository.Source{
		URL: r.source.Spec.Url, Branch: r.source.Spec.Branch, Path: r.source.Spec.Path,
		SecretsDirectory: r.secrets, SecretName: r.source.Spec.SecretName,
	}
}

func (r *round) notFetched(err error) {
	reason := repository.ReasonOf(err)
	r.status.set("Fetched", api.ConditionStatusFalse, reason, err.Error())
	r.status.set("InSync", api.ConditionStatusUnknown, "NotFetched", "the newest commit is not known: "+err.Error())
	r.notify(api.EventTypeWarning, reason, "the repository cannot be read: "+err.Error())
}

// count writes a number of things.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// refuse says that a commit is not applied, and why.
func (r *round) refuse(condition, commit, reason string, failures []api.GitFailure) {
	message := fmt.Sprintf("commit %s is not applied: %s, the first: %s", short(commit), count(len(failures), "fault"), describe(failures[0]))
	r.status.set(condition, api.ConditionStatusFalse, reason, message)
	r.status.set("InSync", api.ConditionStatusFalse, "Behind", fmt.Sprintf("commit %s is not applied", short(commit)))
	r.status.fail(failures)
	r.notify(api.EventTypeWarning, reason, message)
}

// apply brings the resources to what a commit says, or, if that is refused,
// leaves them at the commit that was applied last.
func (r *round) apply(ctx context.Context, wanted *set) (ok bool) {
	known := r.status.AppliedCommit == wanted.commit
	now := r.print(wanted)
	if was := r.memory.settled; was != nil && *was == now && known && r.status.is("InSync", api.ConditionStatusTrue) {
		return true
	}
	r.memory.settled = nil
	for attempt := range maxReplans {
		decided, ok := r.decide(ctx, wanted)
		if !ok {
			return false
		}
		if decided == nil {
			if attempt > 0 {
				return r.goBack(ctx, wanted)
			}
			return r.keep(ctx)
		}
		found, err := r.carryOut(ctx, decided.steps)
		if err != nil {
			r.notReached(wanted.commit, err)
			return false
		}
		if len(found.refused) == 0 {
			r.applied(wanted, decided, known)
			if decided.none() && len(decided.taken) == 0 && (now.complete(wanted) || r.source.Spec.KeepRemoved) {
				r.memory.settled = &now
			}
			return true
		}
		r.log.Info("a planned change was refused", "source", r.source.Metadata.Name, "commit", wanted.commit, "failures", len(found.refused))
		r.status.fail(found.refused)
	}
	return r.goBack(ctx, wanted)
}

// decision is a plan that nothing stands in the way of.
type decision struct {
	steps
	taken []api.GitFailure // fields that others hold
}

// decide has a commit planned as a whole. The decision is nil if the commit is
// refused, ok is false if the API could not say.
func (r *round) decide(ctx context.Context, wanted *set) (_ *decision, ok bool) {
	s, j, err := r.settle(ctx, wanted.documents)
	if err != nil {
		r.notPlanned(wanted.commit, err)
		return nil, false
	}
	if len(j.refused) > 0 {
		r.refuse("Valid", wanted.commit, "Refused", j.refused)
		return nil, true
	}
	r.status.set("Valid", api.ConditionStatusTrue, "Valid", fmt.Sprintf("commit %s can be applied", short(wanted.commit)))
	if most := int(r.source.Spec.MaxDeletions); len(s.removals) > most {
		r.refuse("Applied", wanted.commit, "TooManyDeletions", []api.GitFailure{{
			Message: fmt.Sprintf("it would delete %d resources, at most %d are allowed: raise maxDeletions if that is meant", len(s.removals), most),
		}})
		return nil, true
	}
	return &decision{s, takenFailures(j, wanted.documents, r.source.Spec.Path)}, true
}

// settle plans without force, and then once more: taking back what was changed
// by hand, and leaving out what another manager has taken over.
func (r *round) settle(ctx context.Context, documents []document) (steps, judgement, error) {
	folder := r.source.Spec.Path
	plan, err := r.plan(ctx, documents, false, !r.source.Spec.KeepRemoved)
	if err != nil {
		return steps{}, judgement{}, err
	}
	j := judge(plan, documents, folder, r.manager())
	if len(j.refused) > 0 {
		return steps{}, j, nil
	}
	if !j.clear() {
		if documents, err = yielded(documents, j); err != nil {
			return steps{}, j, err
		}
		if plan, err = r.plan(ctx, documents, true, !r.source.Spec.KeepRemoved); err != nil {
			return steps{}, j, err
		}
		j.refused = judge(plan, documents, folder, r.manager()).refused
	}
	return stepsOf(plan, documents, j.forced), j, nil
}

// yielded leaves out the fields that others have taken.
func yielded(documents []document, j judgement) ([]document, error) {
	out := append([]document(nil), documents...)
	for i, fields := range j.taken {
		body, err := without(out[i].body, fields)
		if err != nil {
			return nil, err
		}
		out[i].body = body
	}
	return out, nil
}

func (r *round) plan(ctx context.Context, documents []document, force, prune bool) (api.Plan, error) {
	request := api.PlanRequest{
		FieldManager: r.manager(), Force: force, ApplySet: applySetOf(r.source.Metadata.Name), Prune: prune,
		Items: make([]json.RawMessage, len(documents)),
	}
	for i, d := range documents {
		request.Items[i] = d.body
	}
	plan, err := r.api.Plan(ctx, request)
	if err == nil && len(plan.Results) < len(documents) {
		err = errors.New("the plan does not speak of all resources")
	}
	return plan, err
}

// notPlanned says that the API did not take the plan.
func (r *round) notPlanned(commit string, err error) {
	reason := "Unavailable"
	switch client.StatusOf(err) {
	case http.StatusForbidden, http.StatusUnauthorized:
		reason = "Forbidden"
	case 0, http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
	default:
		reason = "Refused"
	}
	message := fmt.Sprintf("commit %s cannot be planned with the rights of role %s: %v", short(commit), r.source.Spec.Role, err)
	r.status.set("Applied", api.ConditionStatusFalse, reason, message)
	r.status.set("InSync", api.ConditionStatusUnknown, reason, message)
	if reason != "Unavailable" {
		r.status.fail([]api.GitFailure{{Message: clip(message)}})
		r.notify(api.EventTypeWarning, reason, message)
	}
}

// notReached says that a commit is partly applied because the API cannot be
// reached; the next round goes on.
func (r *round) notReached(commit string, err error) {
	message := fmt.Sprintf("commit %s is being applied; the database or the manager does not answer: %v", short(commit), err)
	r.status.set("Applied", api.ConditionStatusFalse, "Unavailable", message)
	r.status.set("InSync", api.ConditionStatusFalse, "Unavailable", message)
}

// applied records success. known says that the commit had been applied before,
// so that what was to do had been changed by hand.
func (r *round) applied(wanted *set, d *decision, known bool) {
	r.memory.applied = wanted
	r.status.AppliedCommit, r.status.Resources = wanted.commit, int64(len(wanted.documents))
	r.status.set("Applied", api.ConditionStatusTrue, "Applied", fmt.Sprintf("commit %s: %s", short(wanted.commit), count(len(wanted.documents), "resource")))
	r.status.fail(d.taken)
	r.status.taken = map[string]bool{}
	for _, f := range d.taken {
		r.status.taken[f.Resource] = true
	}
	if len(d.taken) > 0 {
		message := fmt.Sprintf("others decide about %s, the first: %s", count(len(d.taken), "field"), describe(d.taken[0]))
		r.status.set("InSync", api.ConditionStatusFalse, "FieldsTaken", message)
		r.notify(api.EventTypeWarning, "FieldsTaken", message)
	} else {
		r.status.set("InSync", api.ConditionStatusTrue, "InSync", fmt.Sprintf("all is as commit %s says", short(wanted.commit)))
	}
	switch {
	case d.none():
	case known:
		r.notify(api.EventTypeNormal, "DriftCorrected", fmt.Sprintf("%d changed and %d removed, so that all is as commit %s says again: %s", len(d.changes), len(d.removals), short(wanted.commit), d.steps))
	default:
		r.notify(api.EventTypeNormal, "Applied", fmt.Sprintf("commit %s: %d changed, %d deleted, %s in all", short(wanted.commit), len(d.changes), len(d.removals), count(len(wanted.documents), "resource")))
	}
}

// keep corrects drift from the commit that was applied last, while a newer one
// cannot be.
func (r *round) keep(ctx context.Context) (ok bool) {
	last := r.last(ctx)
	if last == nil {
		return true
	}
	s, j, err := r.settle(ctx, last.documents)
	if err != nil {
		return false
	}
	s.removals = nil // what a newer commit means to delete stays until that is applied
	if s.none() || len(j.refused) > 0 {
		return true
	}
	if _, err := r.carryOut(ctx, s); err != nil {
		return false
	}
	r.notify(api.EventTypeNormal, "DriftCorrected", fmt.Sprintf("%d changed, so that all is as commit %s says again: %s", len(s.changes), short(last.commit), s))
	return true
}

// last is the set of the commit that was applied last; nil if there is none,
// or if its server does not give it out any more.
func (r *round) last(ctx context.Context) *set {
	commit := r.status.AppliedCommit
	if r.memory.applied != nil && r.memory.applied.commit == commit {
		return r.memory.applied
	}
	if commit == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	session, err := repository.Open(ctx, r.where())
	if err != nil {
		return nil
	}
	defer session.Close()
	tree, err := session.Read(ctx, commit)
	if err != nil {
		r.log.Debug("the commit that was applied last cannot be fetched", "source", r.source.Metadata.Name, "commit", commit, "err", err)
		return nil
	}
	if s := readSet(tree, r.source); len(s.failures) == 0 {
		r.memory.applied = s
		return s
	}
	return nil
}

// goBack undoes what was applied of a commit that turned out to be refused:
// somebody changed meanwhile what the plan relied on.
func (r *round) goBack(ctx context.Context, wanted *set) (ok bool) {
	refused := r.status.Failures
	last, err := r.last(ctx), error(nil)
	reason, message := "RolledBack", "what it had changed is undone"
	if last == nil {
		reason, message = "PartlyApplied", "what it has created is deleted; there is no earlier commit to go back to"
		err = r.restore(ctx, nil)
	} else {
		err = r.restore(ctx, last.documents)
	}
	if err != nil {
		reason, message = "PartlyApplied", "it could not be undone: "+err.Error()
	}
	r.refuse("Valid", wanted.commit, "Refused", refused)
	message = fmt.Sprintf("commit %s was refused while it was being applied; %s", short(wanted.commit), message)
	r.status.set("Applied", api.ConditionStatusFalse, reason, message)
	r.notify(api.EventTypeWarning, reason, message)
	return false
}

// restore applies the documents of an earlier commit and deletes what this
// round has created besides.
func (r *round) restore(ctx context.Context, old []document) error {
	plan, err := r.plan(ctx, old, true, true)
	if err != nil {
		return err
	}
	s := stepsOf(plan, old, nil)
	for i := range s.changes {
		s.changes[i].force = true
	}
	s.removals = slices.DeleteFunc(s.removals, func(m removal) bool { return !r.created[m.key()] })
	found, err := r.carryOut(ctx, s)
	if err == nil && len(found.refused) > 0 {
		err = errors.New(describe(found.refused[0]))
	}
	return err
}

func short(commit string) string { return commit[:min(len(commit), 12)] }

// describe is a failure in one line.
func describe(f api.GitFailure) string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d", f.Line)
		}
		b.WriteString(": ")
	}
	if f.Resource != "" {
		b.WriteString(f.Resource + ": ")
	}
	if f.Pointer != "" {
		b.WriteString(f.Pointer + ": ")
	}
	return b.String() + f.Message
}
