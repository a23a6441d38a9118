package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/internal/lab/cloud"
	"github.com/cyphonic/cyphonic/internal/lab/load"
)

// cloudCommand is the cloud of equal replicas behind routers.
func cloudCommand(programs *string) *cobra.Command {
	command := &cobra.Command{Use: "cloud", Short: "Three hosts with replicas of all services behind BGP routers", Args: cobra.NoArgs}
	command.AddCommand(cloudUp(programs), cloudLoad(), &cobra.Command{
		Use: "down", Short: "Remove the cloud that up left running", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return cloud.Down(command.OutOrStdout()) },
	})
	return command
}

func cloudUp(programs *string) *cobra.Command {
	var o cloud.Options
	var design, router string
	command := &cobra.Command{
		Use: "up", Short: "Build the cloud, leave it running and print how to use it", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			o.Programs, o.Design, o.Software = *programs, cloud.Design(design), cloud.Software(router)
			return cloud.Up(command.Context(), command.OutOrStdout(), o)
		},
	}
	flags := command.Flags()
	flags.StringVar(&design, "design", string(cloud.Private), "private (one router, iBGP) or public (a peer router by eBGP in front of it)")
	flags.StringVar(&router, "router", string(cloud.FRR), "software of the routers: frr or bird")
	flags.IntVar(&o.Hosts, "hosts", 3, "number of hosts")
	flags.IntVar(&o.Replicas, "replicas", 1, "replicas of each service on each host")
	flags.IntVar(&o.Sources, "sources", 1000, "source addresses of devices, of each family")
	flags.BoolVar(&o.NoBFD, "no-bfd", false, "find dead hosts by the hold time of BGP only")
	return command
}

func cloudLoad() *cobra.Command {
	var plan load.Plan
	command := &cobra.Command{
		Use: "load", Short: "Let the devices of the running cloud log in, register and ask for directions", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			socket, err := cloud.RunningSocket()
			if err != nil {
				return err
			}
			report, err := load.NewRemote(socket).Load(command.Context(), plan)
			if err != nil {
				return err
			}
			fmt.Fprint(command.OutOrStdout(), report)
			for _, f := range report.Faults {
				fmt.Fprintf(command.OutOrStdout(), "%s %s of %s from %s: %d tries, failed: %t: %s\n", f.At.Format("15:04:05.000"), f.Kind, f.Device, f.Local, f.Tries, f.Failed, f.Error)
			}
			return nil
		},
	}
	command.Flags().Float64Var(&plan.Rate, "rate", 100, "requests per second")
	command.Flags().IntVar(&plan.Count, "count", 1000, "requests in all")
	return command
}
