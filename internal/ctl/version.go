package ctl

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/internal/program"
)

func (c *command) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:         "version",
		Short:       "Print the version of this program",
		Example:     "  cyphonicctl version",
		Args:        cobra.NoArgs,
		Annotations: formats(""),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(c.Stdout, "cyphonicctl", program.Version())
			return err
		},
	}
}
