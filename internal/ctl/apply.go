package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

// manifestFlags are those of the verbs that read manifests.
type manifestFlags struct {
	files     []string
	recursive bool
}

func (m *manifestFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVarP(&m.files, "filename", "f", nil, "file, folder, or - for standard input; may be given several times")
	cmd.Flags().BoolVarP(&m.recursive, "recursive", "R", false, "descend into the folders of folders")
}

func (c *command) applyCommand() *cobra.Command {
	var manifests manifestFlags
	cmd := &cobra.Command{
		Use:   "apply -f FILE|FOLDER|-",
		Short: "Create or update the resources of manifests",
		Long: `Create or update the resources of manifests.

All documents are read and checked first; if one is invalid nothing is sent. Then they are sent in an order in which what others refer to comes first.
Printed per resource: created, configured or unchanged. A resource that is refused does not keep the others from being sent.`,
		Example: "  cyphonicctl apply -f manifests/examples\n  cyphonicctl get node viewer -o yaml | cyphonicctl apply -f -",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			resources, err := c.readFlagged(manifests)
			if err != nil {
				return err
			}
			return c.apply(cmd.Context(), resources)
		},
	}
	manifests.add(cmd)
	return cmd
}

func (c *command) readFlagged(m manifestFlags) ([]resource, error) {
	if len(m.files) == 0 {
		return nil, &usageError{errors.New("no manifest: give a file, a folder or - with -f")}
	}
	return readManifests(m.files, m.recursive, c.Stdin)
}

func (c *command) apply(ctx context.Context, resources []resource) error {
	for _, r := range resources {
		if r.object.KindName() == "EnrollmentToken" {
			return r.source.faults(r.name(), api.FieldErrors{{
				Pointer: "/kind", Detail: "an EnrollmentToken is made with `cyphonicctl token create`, which prints its secret",
			}})
		}
	}
	manager, err := c.connect()
	if err != nil {
		return err
	}
	defer manager.Close()
	sortByRank(resources)
	var faults []error
	for _, r := range resources {
		verdict, applied, err := applyOne(ctx, manager, r.object)
		if err == nil {
			err = c.printVerdict(applied, verdict)
		} else {
			err = r.refused(err)
		}
		if err != nil {
			faults = append(faults, err)
		}
		if hopeless(err) {
			break
		}
	}
	return errors.Join(faults...)
}

// applyOne tells created, configured or unchanged. What was there before shows which of the latter two it is; the comparison of the specification is the manager's.
func applyOne(ctx context.Context, manager *client.Client, o api.Object) (verdict string, applied api.Object, err error) {
	kind, _ := api.KindNamed(o.KindName())
	before, err := manager.Get(ctx, kind, o.Meta().Name)
	if err != nil && !client.IsNotFound(err) {
		return "", nil, err
	}
	applied, created, err := manager.Apply(ctx, o, "")
	switch {
	case err != nil:
		return "", nil, err
	case created:
		return "created", applied, nil
	case before != nil && before.Meta().ResourceVersion == applied.Meta().ResourceVersion:
		return "unchanged", applied, nil
	}
	return "configured", applied, nil
}

// refused adds where the document stands; field faults become one error each.
func (r resource) refused(err error) error {
	var problem *client.ProblemError
	if !errors.As(err, &problem) {
		return fmt.Errorf("%s: %w", r.source.at("", r.name()), err)
	}
	if len(problem.Problem.Errors) == 0 {
		return fmt.Errorf("%s: %w", r.source.at("", r.name()), err)
	}
	var all []error
	for _, field := range problem.Problem.Errors {
		one := problem.Problem
		one.Detail, one.Errors = field.String(), nil
		all = append(all, fmt.Errorf("%s: %w", r.source.at(field.Pointer, r.name()), &client.ProblemError{Problem: one}))
	}
	return errors.Join(all...)
}

// hopeless errors befall every further request too.
func hopeless(err error) bool {
	code := exitCode(err)
	return err != nil && (code == exitUnreachable || code == exitDenied || errors.Is(err, context.Canceled))
}

func sortByRank(resources []resource) {
	slices.SortStableFunc(resources, func(a, b resource) int { return api.CompareRank(a.object, b.object) })
}

// printVerdict says what became of a resource.
func (c *command) printVerdict(o api.Object, verdict string) error {
	switch c.output {
	case "json", "yaml":
		return c.printObject(o)
	case "name":
		_, err := fmt.Fprintln(c.Stdout, nameOf(o))
		return err
	}
	_, err := fmt.Fprintln(c.Stdout, nameOf(o), verdict)
	return err
}
