package gitsync

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cyphonic/cyphonic/api"
)

// typeFieldConflict is the type of problems about fields of other managers.
const typeFieldConflict = "urn:cyphonic:problem:field-conflict"

// pointerApplySet is the field that says to which apply set a resource belongs.
const pointerApplySet = "/metadata/labels/cyphonic~1applyset"

// judgement is what follows from a plan that forces nothing.
type judgement struct {
	// refused are faults of the commit, or of the rights of its role.
	refused []api.GitFailure
	// forced are the documents that take back fields that were changed by
	// hand (operation Update): git decides about them.
	forced map[int]bool
	// taken are, by document, the fields that another manager has taken over by
	// an apply with force: git leaves them, and says so.
	taken map[int][]api.FieldError
}

func (j judgement) clear() bool { return len(j.forced) == 0 && len(j.taken) == 0 }

// judge sorts what a plan refuses. The results stand in the order of the
// documents, then those of deletions.
func judge(plan api.Plan, documents []document, folder, manager string) judgement {
	j := judgement{forced: map[int]bool{}, taken: map[int][]api.FieldError{}}
	for i, result := range plan.Results {
		if result.Verdict != api.PlanVerdictRefused {
			continue
		}
		if i >= len(documents) {
			j.refused = append(j.refused, api.GitFailure{
				Resource: strings.ToLower(result.Kind) + "/" + result.Name, Message: clip("cannot be deleted, though its manifest is gone: " + textOf(result.Problem)),
			})
			continue
		}
		if result.Problem.Type != typeFieldConflict || len(result.Problem.Errors) == 0 {
			j.refused = append(j.refused, failuresOf(documents[i], result.Problem, folder)...)
			continue
		}
		owners := ownersOf(result.Before)
		for _, field := range result.Problem.Errors {
			switch {
			case field.Pointer == pointerApplySet:
				j.refused = append(j.refused, failuresOf(documents[i], api.Problem{
					Detail: fmt.Sprintf("belongs to another apply set, which %s applies: remove it from there or from this repository", orNobody(field.Owner)),
				}, folder)...)
			case owners.byApply(field.Pointer, manager):
				j.taken[i] = append(j.taken[i], field)
			default:
				j.forced[i] = true
			}
		}
	}
	return j
}

// owners is who decides about the fields of a resource.
type owners []api.ManagedFields

func ownersOf(resource json.RawMessage) owners {
	var o struct {
		Metadata struct {
			ManagedFields []api.ManagedFields `json:"managedFields"`
		} `json:"metadata"`
	}
	if json.Unmarshal(resource, &o) != nil {
		return nil
	}
	return o.Metadata.ManagedFields
}

// byApply tells whether somebody else than the manager has applied a field,
// or one within it, or one around it.
func (o owners) byApply(pointer, manager string) bool {
	return slices.ContainsFunc(o, func(m api.ManagedFields) bool {
		return m.Manager != manager && m.Operation == api.ManagedOperationApply &&
			slices.ContainsFunc(m.Fields, func(f string) bool { return covers(f, pointer) || covers(pointer, f) })
	})
}

// covers tells whether the field at inner is that at outer or within it.
func covers(outer, inner string) bool {
	return inner == outer || strings.HasPrefix(inner, outer+"/")
}

// without returns a document that says nothing about some fields.
func without(body []byte, fields []api.FieldError) ([]byte, error) {
	document, err := decodeFields(body)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		removePointer(document, strings.Split(strings.TrimPrefix(f.Pointer, "/"), "/"))
	}
	return json.Marshal(document)
}

func removePointer(at map[string]any, path []string) {
	key := strings.NewReplacer("~1", "/", "~0", "~").Replace(path[0])
	if len(path) == 1 {
		delete(at, key)
		return
	}
	if inner, ok := at[key].(map[string]any); ok {
		removePointer(inner, path[1:])
	}
}

// failuresOf says where in the repository a problem is.
func failuresOf(d document, p api.Problem, folder string) []api.GitFailure {
	at := func(pointer, message string) api.GitFailure {
		return api.GitFailure{
			File: path.Join(folder, d.from.Source.File), Line: d.from.Source.Line(pointer), Resource: d.from.Name(), Pointer: pointer, Message: clip(message),
		}
	}
	if len(p.Errors) == 0 {
		return []api.GitFailure{at("", textOf(p))}
	}
	out := make([]api.GitFailure, 0, len(p.Errors))
	for _, f := range p.Errors {
		out = append(out, at(f.Pointer, f.Detail))
	}
	return out
}

func textOf(p api.Problem) string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

func orNobody(owner string) string {
	if owner == "" {
		return "somebody"
	}
	return owner
}

// takenFailures reports the fields that git does not decide about any more.
func takenFailures(j judgement, documents []document, folder string) []api.GitFailure {
	var out []api.GitFailure
	for i, d := range documents {
		for _, f := range j.taken[i] {
			out = append(out, failuresOf(d, api.Problem{Errors: []api.FieldError{{
				Pointer: f.Pointer, Detail: fmt.Sprintf("%s has taken this field over and decides about it: give it back with an apply without it, or take the field out of the manifest", orNobody(f.Owner)),
			}}}, folder)...)
		}
	}
	return out
}

// change is one resource to apply.
type change struct {
	document
	force   bool
	created bool // it did not exist when it was planned
}

// removal is one resource to delete.
type removal struct {
	kind            api.Kind
	name            string
	resourceVersion string // when it was planned
}

// steps is what a plan has decided.
type steps struct {
	changes  []change  // in order of rank
	removals []removal // in the reverse order
}

func (m removal) key() string { return m.kind.Name + "/" + m.name }

func (s steps) none() bool { return len(s.changes) == 0 && len(s.removals) == 0 }

// stepsOf takes out of a plan what there is to do.
func stepsOf(plan api.Plan, documents []document, forced map[int]bool) steps {
	var s steps
	for i, result := range plan.Results {
		switch result.Verdict {
		case api.PlanVerdictCreated, api.PlanVerdictConfigured:
			if i < len(documents) {
				s.changes = append(s.changes, change{documents[i], forced[i], result.Verdict == api.PlanVerdictCreated})
			}
		case api.PlanVerdictPruned, api.PlanVerdictDeleted:
			if kind, ok := api.KindNamed(result.Kind); ok {
				s.removals = append(s.removals, removal{kind, result.Name, versionOf(result.Before)})
			}
		}
	}
	slices.SortStableFunc(s.removals, func(a, b removal) int { return b.kind.Rank - a.kind.Rank })
	return s
}

func versionOf(resource json.RawMessage) string {
	var o struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	_ = json.Unmarshal(resource, &o) // without a version the deletion is not conditional on one
	return o.Metadata.ResourceVersion
}

// String lists some of the steps for people.
func (s steps) String() string {
	const most = 5
	var names []string
	for _, c := range s.changes {
		names = append(names, strings.ToLower(c.kind.Name)+"/"+c.name)
	}
	for _, r := range s.removals {
		names = append(names, strings.ToLower(r.kind.Name)+"/"+r.name)
	}
	if more := len(names) - most; more > 0 {
		names = append(names[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
