package ctl

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/applyset"
	"github.com/cyphonic/cyphonic/internal/manifest"
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

// stdin tells whether the manifests take standard input, so that nobody can be asked.
func (m *manifestFlags) stdin() bool { return slices.Contains(m.files, "-") }

// readFlagged reads manifests; what is wrong with them is an invalidError per fault, anything else a usageError.
func (c *command) readFlagged(m manifestFlags) ([]manifest.Resource, error) {
	if len(m.files) == 0 {
		return nil, &usageError{errors.New("no manifest: give a file, a folder or - with -f")}
	}
	resources, err := manifest.Read(m.files, m.recursive, c.Stdin)
	if err != nil {
		return nil, manifestError(err)
	}
	return resources, nil
}

// readDescribable is readFlagged for resources that are to be applied, in an order in which what others refer to comes first.
func (c *command) readDescribable(m manifestFlags) ([]manifest.Resource, error) {
	resources, err := c.readFlagged(m)
	if err != nil {
		return nil, err
	}
	var faults []*manifest.FileError
	for _, r := range resources {
		if err := applyset.Describable(kindOfObject(r.Object)); err != nil {
			faults = append(faults, r.Error("/kind", err.Error()))
		}
	}
	if len(faults) > 0 {
		return nil, manifestError(manifest.Join(faults))
	}
	slices.SortStableFunc(resources, func(a, b manifest.Resource) int { return api.CompareRank(a.Object, b.Object) })
	return resources, nil
}

// manifestError gives every fault of a manifest the exit code of one.
func manifestError(err error) error {
	var fault *manifest.FileError
	if !errors.As(err, &fault) {
		return &usageError{err}
	}
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return &invalidError{err}
	}
	var all []error
	for _, one := range several.Unwrap() {
		all = append(all, &invalidError{one})
	}
	return errors.Join(all...)
}

func kindOfObject(o api.Object) api.Kind {
	kind, _ := api.KindNamed(o.KindName())
	return kind
}

// refused adds where the document stands to what the manager said; field faults become one error each, those about other field managers with what can be done.
func refused(r manifest.Resource, err error) error {
	var problem *client.ProblemError
	if !errors.As(err, &problem) || len(problem.Problem.Errors) == 0 {
		return fmt.Errorf("%s, %s: %w", r.Source.At(""), r.Name(), err)
	}
	var all []error
	for _, field := range problem.Problem.Errors {
		one := problem.Problem
		one.Detail, one.Errors = field.String(), nil
		if field.Owner != "" {
			one.Detail = fmt.Sprintf("%s: is decided by the field manager %q, with another value: leave the field out, let %q change it, or take it over with --force-conflicts",
				field.Pointer, field.Owner, field.Owner)
		}
		all = append(all, fmt.Errorf("%s, %s: %w", r.Source.At(field.Pointer), r.Name(), &client.ProblemError{Problem: one}))
	}
	return errors.Join(all...)
}
