package ctl

import "github.com/spf13/cobra"

func (c *command) validateCommand() *cobra.Command {
	var manifests manifestFlags
	cmd := &cobra.Command{
		Use:   "validate -f FILE|FOLDER|-",
		Short: "Check manifests without a manager",
		Long: `Check manifests without a manager: every document by itself as the manager would, and all together for resources, names, addresses and MACs given twice
and for devices outside of the prefixes and the domain of their network. All faults are printed. References to resources that the manifests do not have are not faults.`,
		Example: "  cyphonicctl validate -f manifests/examples",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			resources, err := c.readFlagged(manifests)
			if err != nil {
				return err
			}
			for _, r := range resources {
				if err := c.printVerdict(r.object, "valid"); err != nil {
					return err
				}
			}
			return nil
		},
	}
	manifests.add(cmd)
	return cmd
}
