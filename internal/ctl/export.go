package ctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/applyset"
)

type exportFlags struct {
	directory string
	selector  string
}

func (c *command) exportCommand() *cobra.Command {
	var flags exportFlags
	cmd := &cobra.Command{
		Use:   "export [KIND[,KIND…] [NAME…] | KIND/NAME…]",
		Short: "Write manifests of what there is",
		Long: `Write manifests of what there is, to adopt it into a repository: without status and without what the manager keeps about a resource. What they describe is what
there is: diff on them says so. Without arguments all kinds that manifests can describe are exported; tokens and events are none of them.

They go to standard output as one stream or, with --directory, to one file per resource, DIRECTORY/KINDS/NAME.yaml. What others refer to comes first; resources of a
kind are in the order of their names.`,
		Example: `  cyphonicctl export --directory fleet
  cyphonicctl export adapters,generalnodes -l site=hall-1 > hall-1.yaml`,
		ValidArgsFunction: completeKinds,
		Annotations:       formats(valueFormats),
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := exportTargets(args)
			if err != nil {
				return err
			}
			if _, faults := api.ParseLabelSelector(flags.selector); len(faults) > 0 {
				return &usageError{fmt.Errorf("-l: %s", faults[0].Detail)}
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			defer manager.Close()
			return c.export(cmd.Context(), manager, targets, &flags)
		},
	}
	cmd.Flags().StringVar(&flags.directory, "directory", "", "folder to make, or an empty one")
	cmd.Flags().StringVarP(&flags.selector, "selector", "l", "", "resources with these labels, as in a=b,c in (d,e),!f")
	return cmd
}

func exportTargets(args []string) (targets []target, err error) {
	if len(args) == 0 {
		for _, kind := range applyset.Kinds() {
			targets = append(targets, target{kind: kind})
		}
		return targets, nil
	}
	if targets, err = targetsOf(args); err != nil {
		return nil, err
	}
	for _, t := range targets {
		if err := applyset.Describable(t.kind); err != nil {
			return nil, &usageError{fmt.Errorf("%s cannot be exported: it %w", t.kind.Plural, err)}
		}
	}
	slices.SortStableFunc(targets, func(a, b target) int { return a.kind.Rank - b.kind.Rank })
	return targets, nil
}

// exporter writes manifests to one stream or to one file each.
type exporter struct {
	c         *command
	directory string
	written   int
}

func (c *command) export(ctx context.Context, manager *client.Client, targets []target, flags *exportFlags) error {
	e := &exporter{c: c, directory: flags.directory}
	if err := e.begin(); err != nil {
		return err
	}
	p := c.newProgress("exporting")
	defer p.done()
	for _, t := range targets {
		if t.name != "" {
			o, err := manager.Get(ctx, t.kind, t.name)
			if err != nil {
				return fmt.Errorf("%s: %w", t, err)
			}
			if err := e.write(t.kind, o); err != nil {
				return err
			}
			continue
		}
		err := manager.ListPages(ctx, t.kind, client.ListOptions{Labels: flags.selector}, func(page api.List) error {
			for _, o := range page.Items {
				if err := e.write(t.kind, o); err != nil {
					return err
				}
			}
			p.at(e.written, 0)
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", t.kind.Plural, err)
		}
	}
	p.done()
	return e.end()
}

// begin refuses a folder that has something in it: what a file of an earlier export describes may be gone.
func (e *exporter) begin() error {
	if e.directory == "" {
		return nil
	}
	entries, err := os.ReadDir(e.directory)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return &usageError{fmt.Errorf("%s is not empty: choose another --directory", e.directory)}
	}
	return os.MkdirAll(e.directory, 0o755)
}

func (e *exporter) write(kind api.Kind, o api.Object) error {
	fields, err := described(o)
	if err != nil {
		return err
	}
	e.written++
	text, err := e.encode(fields)
	if err != nil {
		return err
	}
	if e.directory == "" {
		if e.written > 1 {
			text = append([]byte("---\n"), text...)
		}
		_, err := e.c.Stdout.Write(text)
		return err
	}
	extension := ".yaml"
	if e.c.output == "json" {
		extension = ".json"
	}
	path := filepath.Join(e.directory, kind.Plural, o.Meta().Name+extension)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

func (e *exporter) encode(fields map[string]any) ([]byte, error) {
	if e.c.output != "json" {
		return encodeYAML(fields)
	}
	var text bytes.Buffer
	err := encodeJSON(&text, fields, "  ")
	return text.Bytes(), err
}

func (e *exporter) end() error {
	if e.written == 0 {
		fmt.Fprintln(e.c.Stderr, "Nothing to export.")
		return nil
	}
	if e.directory != "" {
		fmt.Fprintf(e.c.Stderr, "%s in %s.\n", count(int64(e.written), "resource", "resources"), e.directory)
	}
	return nil
}
