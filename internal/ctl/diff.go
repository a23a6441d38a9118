package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/manifest"
)

// Exit codes of diff, as of diff(1).
const (
	diffSame    = exitStatus(0)
	diffOther   = exitStatus(1)
	diffTrouble = exitStatus(2)
)

func (c *command) diffCommand() *cobra.Command {
	var flags applyFlags
	cmd := &cobra.Command{
		Use:   "diff -f FILE|FOLDER|-",
		Short: "Show what apply would change",
		Long: `Show what apply would change, as a unified diff of each resource as it is and as it would be; status and what the manager keeps about a resource are left out.
With --prune, what would be deleted is shown too. Which pairs of devices would gain or lose reachability is said on standard error.

Exit codes: 0 nothing would change, 1 something would, 2 it could not be found out.`,
		Example:     "  cyphonicctl diff -R -f fleet\n  cyphonicctl diff -R -f fleet --applyset fleet --prune",
		Args:        cobra.NoArgs,
		Annotations: formats(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			differs, err := c.diff(cmd.Context(), &flags)
			switch {
			case err != nil:
				c.report(err)
				return diffTrouble
			case differs:
				return diffOther
			}
			return nil
		},
	}
	flags.manifests.add(cmd)
	flags.pruning.add(cmd)
	flags.dryRun, flags.parallel = "server", 1
	cmd.Flags().StringVar(&flags.fieldManager, "field-manager", defaultFieldManager, "who decides about the fields of the manifests")
	cmd.Flags().BoolVar(&flags.force, "force-conflicts", false, "take over fields that other field managers decide about")
	return cmd
}

func (c *command) diff(ctx context.Context, flags *applyFlags) (differs bool, err error) {
	if err := flags.check(); err != nil {
		return false, err
	}
	resources, err := flags.pruning.read(c, flags.manifests)
	if err != nil {
		return false, err
	}
	manager, err := c.connect()
	if err != nil {
		return false, err
	}
	defer manager.Close()
	leaving, err := flags.pruning.deletions(ctx, c, manager, resources)
	if err != nil {
		return false, err
	}
	p, err := c.propose(ctx, manager, resources, leaving, flags.pruning.set, flags.write())
	if err != nil {
		return false, err
	}
	if err := p.foreign(flags); err != nil {
		return false, err
	}
	for _, one := range p.changes {
		text, err := unified(one.target, one.before, one.after)
		if err != nil {
			return false, err
		}
		differs = differs || text != ""
		c.printDiff(text)
	}
	for _, one := range p.deletions {
		text, err := unified(one.target, one.before, nil)
		if err != nil {
			return false, err
		}
		differs = true
		c.printDiff(text)
	}
	c.showReachability(p.reachability, "would")
	return differs, nil
}

// unified is the difference of a resource as it is and as it would be; empty if there is none.
func unified(t target, before, after api.Object) (string, error) {
	was, err := decided(before)
	if err != nil {
		return "", err
	}
	is, err := decided(after)
	if err != nil {
		return "", err
	}
	nameWas, nameIs := "live/"+t.String(), "manifest/"+t.String()
	if before == nil {
		nameWas = "/dev/null"
	}
	if after == nil {
		nameIs = "/dev/null"
	}
	text := string(diff.Diff(nameWas, was, nameIs, is))
	if _, hunks, ok := strings.Cut(text, "\n"); ok {
		return hunks, nil // without the line of the command
	}
	return "", nil
}

// decided is the part of a resource that somebody decided about, as YAML.
func decided(o api.Object) ([]byte, error) {
	fields, err := described(o)
	if err != nil || fields == nil {
		return nil, err
	}
	return encodeYAML(fields)
}

// described returns the fields that a manifest of the resource has.
func described(o api.Object) (map[string]any, error) {
	if o == nil {
		return nil, nil
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	manifest.Strip(fields)
	if meta, ok := fields["metadata"].(map[string]any); ok {
		delete(meta, "resourceVersion")
		delete(meta, "uid")
	}
	return fields, nil
}

func (c *command) printDiff(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		s := stylePlain
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
			s = styleHeading
		case strings.HasPrefix(line, "@@"):
			s = styleSubject
		case strings.HasPrefix(line, "+"):
			s = styleGood
		case strings.HasPrefix(line, "-"):
			s = styleBad
		}
		fmt.Fprintln(c.Stdout, c.paint(c.Stdout, s, line))
	}
}
