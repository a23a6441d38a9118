package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/manifest"
)

// proposal is what manifests and deletions would do, as the manager says.
type proposal struct {
	changes      []proposed // in the order of the manifests
	deletions    []proposed
	reachability api.ReachabilityDifference
}

// proposed is one resource of a proposal.
type proposed struct {
	resource manifest.Resource // zero for a deletion
	target   target
	verdict  api.PlanVerdict
	before   api.Object // nil: it does not exist
	after    api.Object // nil: it goes
}

// propose asks the manager what would happen, on the path that a change takes, without doing it. What it refuses is an error per resource, and no proposal.
func (c *command) propose(
	ctx context.Context, manager *client.Client, resources []manifest.Resource, deletions []api.Object, set string, w client.WriteOptions,
) (*proposal, error) {
	if len(resources)+len(deletions) > maxPlanned {
		return nil, &invalidError{fmt.Errorf("there are %d resources, at most %d are possible at once: apply them in parts", len(resources)+len(deletions), maxPlanned)}
	}
	request := api.PlanRequest{FieldManager: w.FieldManager, Force: w.Force, ApplySet: set, Items: []json.RawMessage{}}
	for _, r := range resources {
		request.Items = append(request.Items, r.Document)
	}
	for _, o := range deletions {
		request.Deletions = append(request.Deletions, api.ObjectReference{Kind: o.KindName(), Name: o.Meta().Name})
	}
	plan, err := manager.Plan(ctx, request)
	if err != nil {
		return nil, planError(err)
	}
	if len(plan.Results) != len(resources)+len(deletions) {
		return nil, errors.New("the manager planned another number of resources than were asked for")
	}
	p := &proposal{reachability: plan.Reachability}
	var faults []error
	for i, result := range plan.Results {
		one, err := proposedOf(result)
		if i < len(resources) {
			one.resource = resources[i]
			p.changes = append(p.changes, one)
			if err != nil {
				err = refused(resources[i], err)
			}
		} else {
			p.deletions = append(p.deletions, one)
			if err != nil {
				err = fmt.Errorf("%s: %w", one.target, err)
			}
		}
		if err != nil {
			faults = append(faults, err)
		}
	}
	return p, errors.Join(faults...)
}

// planError says what to do where planning is what is not possible.
func planError(err error) error {
	switch client.StatusOf(err) {
	case http.StatusForbidden:
		return fmt.Errorf("what would change cannot be worked out beforehand: %w; with --no-plan it is applied all the same", err)
	case http.StatusRequestEntityTooLarge:
		return fmt.Errorf("the manifests are too large to be applied at once: %w: apply them in parts", err)
	}
	return err
}

func proposedOf(result api.PlanResult) (proposed, error) {
	kind, ok := api.KindNamed(result.Kind)
	if !ok {
		return proposed{}, fmt.Errorf("the manager planned a resource of the unknown kind %q", result.Kind)
	}
	one := proposed{target: target{kind, result.Name}, verdict: result.Verdict}
	if result.Verdict == api.PlanVerdictRefused {
		return one, &client.ProblemError{Problem: result.Problem}
	}
	var err error
	if one.before, err = objectOf(kind, result.Before); err != nil {
		return one, err
	}
	one.after, err = objectOf(kind, result.After)
	return one, err
}

// objectOf reads a resource in an answer; nil if there is none.
func objectOf(kind api.Kind, text json.RawMessage) (api.Object, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	o := kind.New()
	if err := json.Unmarshal(text, o); err != nil {
		return nil, fmt.Errorf("the answer of the manager has no %s: %w", kind.Name, err)
	}
	return o, nil
}

// pending are the resources that have to be sent.
func (p *proposal) pending() (resources []proposed) {
	for _, one := range p.changes {
		if one.verdict != api.PlanVerdictUnchanged {
			resources = append(resources, one)
		}
	}
	return resources
}

// showReachability says on standard error which pairs of devices gain and lose flows; nothing if none does.
func (c *command) showReachability(d api.ReachabilityDifference, then string) {
	if d.GainedPairs == 0 && d.LostPairs == 0 {
		return
	}
	c.showPairs(styleMiddling, "+", d.Gained, count(d.GainedPairs, "pair of devices "+then+" gain reachability", "pairs of devices "+then+" gain reachability"))
	c.showPairs(styleBad, "-", d.Lost, count(d.LostPairs, "pair of devices "+then+" lose reachability", "pairs of devices "+then+" lose reachability"))
	if d.Truncated {
		fmt.Fprintln(c.Stderr, "  … there are more than are shown")
	}
}

func (c *command) showPairs(s style, sign string, changes []api.ReachabilityChange, heading string) {
	if len(changes) == 0 {
		return
	}
	fmt.Fprintln(c.Stderr, c.paint(c.Stderr, styleHeading, heading+":"))
	for i, change := range changes {
		if i == maxShownChanges {
			fmt.Fprintf(c.Stderr, "  … and %d more kinds of flows\n", len(changes)-i)
			return
		}
		line := fmt.Sprintf("%s %s -> %s", sign, change.From, change.To)
		if change.Pairs > 1 {
			line += fmt.Sprintf(" and %s like it", count(change.Pairs-1, "pair", "pairs"))
		}
		fmt.Fprintln(c.Stderr, c.paint(c.Stderr, s, "  "+line+": "+flowsText(change.Flows)))
	}
}

// flowsText is as in tcp/80,443 icmp.
func flowsText(flows []api.ReachableFlow) string {
	texts := make([]string, len(flows))
	for i, f := range flows {
		texts[i] = string(f.Protocol)
		if len(f.Ports) > 0 {
			texts[i] += "/" + strings.Join(f.Ports, ",")
		}
	}
	return strings.Join(texts, " ")
}
