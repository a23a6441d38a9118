package ctl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/jsonpath"
)

type waitFlags struct {
	selection
	condition string
	timeout   time.Duration
	all       bool
}

func (c *command) waitCommand() *cobra.Command {
	var flags waitFlags
	cmd := &cobra.Command{
		Use:   "wait KIND NAME… | KIND/NAME… | KIND -l SELECTOR | KIND --all",
		Short: "Wait until resources are as they should be",
		Long: `Wait until resources are as they should be. Each is printed once it is; it need not stay so while the others are waited for. The exit code is 1 if time runs out.

  --for=condition=Ready           the condition is True; condition=Ready=False for another status
  --for=phase=Up                  status.phase
  --for=jsonpath=PATH=VALUE       what the path finds is the value; jsonpath=PATH: it finds anything
  --for=create                    it exists
  --for=delete                    it does not, or no longer, exist`,
		Example: `  cyphonicctl wait gn cam1 cam2 --for=phase=Up --timeout 60s
  cyphonicctl wait gitsource/fleet --for=condition=InSync
  cyphonicctl wait gn -l site=hall-1 --for=delete
  cyphonicctl wait gn/cam1 --for=jsonpath='{.status.virtualIPv4}'=100.96.0.3`,
		Args:              cobra.MinimumNArgs(1),
		Annotations:       formats("table,name"),
		ValidArgsFunction: c.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := targetsOf(args)
			if err != nil {
				return err
			}
			w, err := c.newWaiter(targets, flags)
			if err != nil {
				return err
			}
			return c.withManager(func(manager *client.Client) error { return w.wait(cmd.Context(), manager) })
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.condition, "for", "", "what to wait for (required)")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 30*time.Second, "how long; 0: look once; negative: a week")
	cmd.Flags().BoolVar(&flags.all, "all", false, "wait for every resource of the kind that there is now")
	return cmd
}

// waiter waits for the resources of one kind after those of another.
type waiter struct {
	c       *command
	targets []target
	flags   waitFlags
	goal    goal
	bar     *progress
}

// goal tells whether a resource, nil for one that does not exist, is as it should be.
type goal struct {
	text    string
	absent  bool // it should not exist
	present bool // it is enough that it exists
	holds   func(o api.Object) (bool, error)
}

func (g goal) reached(o api.Object) (bool, error) {
	if o == nil {
		return g.absent, nil
	}
	if g.absent || g.present {
		return g.present, nil
	}
	return g.holds(o)
}

func (c *command) newWaiter(targets []target, flags waitFlags) (*waiter, error) {
	if err := flags.check(targets); err != nil {
		return nil, err
	}
	g, err := parseGoal(flags.condition)
	if err != nil {
		return nil, &usageError{err}
	}
	selecting := flags.all || flags.labels != "" || flags.fields != ""
	switch named := targets[0].name != ""; {
	case named && selecting:
		return nil, &usageError{errors.New("wait for names, or for what --all, --selector and --field-selector choose, not both")}
	case !named && !selecting:
		return nil, &usageError{errors.New("name what to wait for, or choose it with --selector, --field-selector or --all")}
	}
	if flags.timeout < 0 {
		flags.timeout = 7 * 24 * time.Hour
	}
	return &waiter{c: c, targets: targets, flags: flags, goal: g}, nil
}

func parseGoal(text string) (goal, error) {
	kind, rest, _ := strings.Cut(text, "=")
	switch kind {
	case "delete":
		return goal{text: "deleted", absent: true}, nil
	case "create":
		return goal{text: "created", present: true}, nil
	case "phase":
		path, err := jsonpath.ParsePath(".status.phase")
		return goal{text: "phase " + rest + " reached", holds: finds(path, rest)}, err
	case "condition":
		name, status, ok := strings.Cut(rest, "=")
		if !ok {
			status = "True"
		}
		if name != "" {
			return goal{text: "condition met", holds: hasCondition(name, status)}, nil
		}
	case "jsonpath":
		expression, value, exact := cutPath(rest)
		path, err := jsonpath.ParsePath(expression)
		if err != nil {
			return goal{}, fmt.Errorf("--for=jsonpath: %w", err)
		}
		if !exact {
			return goal{text: "condition met", holds: func(o api.Object) (bool, error) {
				found, err := findText(path, o)
				return found != "", err
			}}, nil
		}
		return goal{text: "condition met", holds: finds(path, value)}, nil
	}
	return goal{}, errors.New("--for must be condition=NAME[=STATUS], phase=PHASE, jsonpath=PATH[=VALUE], create or delete")
}

// cutPath cuts at the first = behind the path: behind its closing brace, or outside of brackets.
func cutPath(text string) (path, value string, ok bool) {
	if strings.HasPrefix(text, "{") {
		end := strings.LastIndexByte(text, '}')
		path, value = text[:end+1], text[end+1:]
		value, ok = strings.CutPrefix(value, "=")
		return path, value, ok
	}
	depth := 0
	for i, r := range text {
		switch {
		case r == '[' || r == '(':
			depth++
		case r == ']' || r == ')':
			depth--
		case r == '=' && depth == 0:
			return text[:i], text[i+1:], true
		}
	}
	return text, "", false
}

func finds(path *jsonpath.Path, value string) func(api.Object) (bool, error) {
	return func(o api.Object) (bool, error) {
		found, err := findText(path, o)
		return found == value, err
	}
}

// hasCondition wants a condition that speaks of the present specification.
func hasCondition(name, status string) func(api.Object) (bool, error) {
	return func(o api.Object) (bool, error) {
		conditions, err := conditionsOf(o)
		for _, condition := range conditions {
			if strings.EqualFold(condition.Type, name) {
				current := condition.ObservedGeneration == 0 || condition.ObservedGeneration >= o.Meta().Generation
				return current && strings.EqualFold(string(condition.Status), status), err
			}
		}
		return false, err
	}
}

func (w *waiter) wait(ctx context.Context, manager *client.Client) error {
	w.bar = w.c.newProgress("Waiting")
	defer w.bar.done()
	end := w.c.Now().Add(w.flags.timeout)
	for _, group := range byKind(w.targets) {
		if err := w.waitForKind(ctx, manager, group, end); err != nil {
			return err
		}
	}
	return nil
}

// byKind keeps targets of one kind together.
func byKind(targets []target) [][]target {
	var groups [][]target
	at := map[string]int{}
	for _, t := range targets {
		i, ok := at[t.kind.Name]
		if !ok {
			i = len(groups)
			at[t.kind.Name] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], t)
	}
	return groups
}

// errReached ends the stream once there is nothing to wait for.
var errReached = errors.New("reached")

func (w *waiter) waitForKind(ctx context.Context, manager *client.Client, targets []target, end time.Time) error {
	kind, s := targets[0].kind, w.flags.selection
	if len(targets) == 1 {
		s = s.alone(targets[0].name)
	}
	list, err := manager.List(ctx, kind, client.ListOptions{Labels: s.labels, Fields: s.fields})
	if err != nil {
		return err
	}
	waiting, err := w.begin(ctx, manager, targets, list.Items)
	if err != nil || len(waiting) == 0 {
		return err
	}
	if w.goal.absent && targets[0].name == "" {
		s = selection{} // what no longer matches is not deleted
	}
	options := w.c.followOptions(s, list.Metadata.ResourceVersion)
	options.Patience = 0 // the time of the flag is
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	total := len(waiting)
	w.bar.now(fmt.Sprintf("Waiting for %s", w.remaining(kind, waiting)))
	err = manager.Follow(ctx, kind, options, func(change client.Change) error {
		err := w.change(change, waiting)
		w.bar.at(total-len(waiting), total)
		return err
	})
	switch {
	case errors.Is(err, errReached):
		return nil
	case err != nil:
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("time ran out after %s: %s: %s", w.flags.timeout, w.remaining(kind, waiting), w.goal.missing())
	}
	return ctx.Err()
}

// begin returns the names that are not yet as they should be.
func (w *waiter) begin(ctx context.Context, manager *client.Client, targets []target, present []api.Object) (map[string]bool, error) {
	found := map[string]api.Object{}
	for _, o := range present {
		found[o.Meta().Name] = o
	}
	names := make([]string, 0, len(targets))
	for _, t := range targets {
		if t.name != "" {
			names = append(names, t.name)
		}
	}
	if targets[0].name == "" {
		names = slices.Sorted(maps.Keys(found))
		if len(names) == 0 && !w.goal.absent {
			return nil, &notFoundError{fmt.Errorf("there are no such %s", targets[0].kind.Plural)}
		}
	}
	waiting := map[string]bool{}
	for _, name := range names {
		o, exists := found[name]
		if !exists && !w.goal.absent && !w.goal.present {
			if _, err := manager.Get(ctx, targets[0].kind, name); err != nil {
				return nil, fmt.Errorf("%s: %w", target{targets[0].kind, name}, err)
			}
		}
		waiting[name] = true
		if err := w.look(target{targets[0].kind, name}, o, waiting); err != nil && !errors.Is(err, errReached) {
			return nil, err
		}
	}
	return waiting, nil
}

func (w *waiter) change(change client.Change, waiting map[string]bool) error {
	meta := change.Object.Meta()
	if change.Type == api.WatchEventTypeBOOKMARK || !waiting[meta.Name] {
		return nil
	}
	kind, _ := api.KindNamed(change.Object.KindName())
	if change.Type == api.WatchEventTypeDELETED {
		change.Object = nil
	}
	return w.look(target{kind, meta.Name}, change.Object, waiting)
}

// look takes a resource off the list, and says so, if it is as it should be.
func (w *waiter) look(t target, o api.Object, waiting map[string]bool) error {
	reached, err := w.goal.reached(o)
	if err != nil || !reached {
		return err
	}
	delete(waiting, t.name)
	w.bar.done()
	line := t.String()
	if w.c.output != "name" {
		line += " " + w.goal.text
	}
	if _, err := fmt.Fprintln(w.c.Stdout, line); err != nil {
		return err
	}
	if len(waiting) == 0 {
		return errReached
	}
	return nil
}

// missing is the text with a not before its last word.
func (g goal) missing() string {
	at := strings.LastIndexByte(g.text, ' ') + 1
	return g.text[:at] + "not " + g.text[at:]
}

// remaining names what is waited for, not too much of it.
func (w *waiter) remaining(kind api.Kind, waiting map[string]bool) string {
	names := slices.Sorted(maps.Keys(waiting))
	more := ""
	if len(names) > 3 {
		more = fmt.Sprintf(" and %d more", len(names)-3)
		names = names[:3]
	}
	for i, name := range names {
		names[i] = target{kind, name}.String()
	}
	return strings.Join(names, ", ") + more
}
