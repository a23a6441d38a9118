package ctl

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/manifest"
	"github.com/cyphonic/cyphonic/internal/policy"
)

func (c *command) validateCommand() *cobra.Command {
	var (
		manifests manifestFlags
		complete  bool
	)
	cmd := &cobra.Command{
		Use:   "validate -f FILE|FOLDER|-",
		Short: "Check manifests without a manager",
		Long: `Check manifests without a manager: every document by itself as the manager would, and all together for resources, names, addresses and MACs given twice,
for devices outside of the prefixes and the domain of their network, and for adapters of another network. All faults are printed.

References to resources that the manifests do not have are faults only with --complete, for manifests that describe a whole installation; access policies that then
select no device on one side are warned about.`,
		Example: "  cyphonicctl validate -f manifests/examples\n  cyphonicctl validate -R -f fleet --complete",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			resources, err := c.readFlagged(manifests)
			if err != nil {
				return err
			}
			if complete {
				if faults := manifest.CheckComplete(resources); len(faults) > 0 {
					return manifestError(manifest.Join(faults))
				}
				c.warnIdlePolicies(resources)
			}
			var all []shown
			for _, r := range resources {
				all = append(all, shownResource(r.Object, "valid"))
			}
			return c.printShown(all)
		},
	}
	manifests.add(cmd)
	cmd.Flags().BoolVar(&complete, "complete", false, "the manifests must have all that they refer to")
	return cmd
}

// warnIdlePolicies names the policies that allow nothing because no device is selected.
func (c *command) warnIdlePolicies(resources []manifest.Resource) {
	var devices []policy.Subject
	for _, r := range resources {
		if s, ok := policy.SubjectOf(r.Object); ok {
			devices = append(devices, s)
		}
	}
	for _, r := range resources {
		p, ok := r.Object.(*api.AccessPolicy)
		if !ok {
			continue
		}
		sources, destinations := policy.Selected(p, devices)
		if sources == 0 {
			c.warn("%s", r.Error("/spec/from", fmt.Sprintf("selects none of the devices of network %s", p.Spec.Network)))
		}
		if destinations == 0 {
			c.warn("%s", r.Error("/spec/to", fmt.Sprintf("selects none of the devices of network %s", p.Spec.Network)))
		}
	}
}
