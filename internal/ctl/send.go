package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

// send applies resources and deletes others, several at a time but never one before what it refers to, or a deletion before what refers to it. What one is refused
// does not keep the others from being sent; what would befall every request does.
func (c *command) send(ctx context.Context, manager *client.Client, changes, deletions []proposed, flags *applyFlags) ([]shown, error) {
	p := c.newProgress("applying")
	defer p.done()
	work := &together{parallel: flags.parallel, total: len(changes) + len(deletions), progress: p}
	for _, same := range ranks(changes) {
		work.run(ctx, same, func(ctx context.Context, one proposed) (shown, error) {
			applied, created, err := manager.Apply(ctx, one.target.kind, one.target.name, one.resource.Document, flags.write())
			if err != nil {
				return shown{}, refused(one.resource, err)
			}
			return shownResource(applied, string(verdictOf(one, applied, created))), nil
		})
	}
	if len(deletions) > 0 && len(work.faults) > 0 {
		work.faults = append(work.faults, fmt.Errorf("nothing was deleted because not everything could be applied: %s stay", count(int64(len(deletions)), "resource", "resources")))
		return work.results, errors.Join(work.faults...)
	}
	gone := ranks(deletions)
	slices.Reverse(gone)
	for _, same := range gone {
		work.run(ctx, same, func(ctx context.Context, one proposed) (shown, error) {
			// Only what was looked at is deleted: another may have changed it meanwhile, or taken it out of the set.
			deleted, err := manager.Delete(ctx, one.target.kind, one.target.name, client.DeleteOptions{IfMatch: one.before.Meta().ResourceVersion})
			if err != nil {
				return shown{}, fmt.Errorf("%s: %w", one.target, err)
			}
			return shownResource(deleted, string(api.PlanVerdictPruned)), nil
		})
	}
	return work.results, errors.Join(work.faults...)
}

// verdictOf compares with what was there where that is known.
func verdictOf(one proposed, applied api.Object, created bool) api.PlanVerdict {
	switch {
	case created:
		return api.PlanVerdictCreated
	case one.before != nil && one.before.Meta().ResourceVersion == applied.Meta().ResourceVersion:
		return api.PlanVerdictUnchanged
	}
	return api.PlanVerdictConfigured
}

// ranks groups resources by the ranks of their kinds, the lowest first.
func ranks(all []proposed) (groups [][]proposed) {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b proposed) int { return a.target.kind.Rank - b.target.kind.Rank })
	for len(sorted) > 0 {
		rank := sorted[0].target.kind.Rank
		n := slices.IndexFunc(sorted, func(one proposed) bool { return one.target.kind.Rank != rank })
		if n < 0 {
			n = len(sorted)
		}
		groups, sorted = append(groups, sorted[:n]), sorted[n:]
	}
	return groups
}

// together does the same with many resources, several at a time. Results and faults are in the order of the resources.
type together struct {
	parallel int
	total    int
	progress *progress
	results  []shown
	faults   []error
	hopeless bool
}

func (t *together) run(ctx context.Context, all []proposed, do func(context.Context, proposed) (shown, error)) {
	type outcome struct {
		done   bool
		result shown
		err    error
	}
	outcomes := make([]outcome, len(all))
	var (
		mu   sync.Mutex
		next int
		wait sync.WaitGroup
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if t.hopeless || next == len(all) {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range min(t.parallel, len(all)) {
		wait.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				result, err := do(ctx, all[i])
				mu.Lock()
				outcomes[i] = outcome{true, result, err}
				t.hopeless = t.hopeless || hopeless(err)
				t.progress.at(len(t.results)+len(t.faults)+next, t.total)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	for _, o := range outcomes {
		switch {
		case o.err != nil:
			t.faults = append(t.faults, o.err)
		case o.done:
			t.results = append(t.results, o.result)
		}
	}
}
