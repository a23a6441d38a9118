package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/program"
	"github.com/cyphonic/cyphonic/internal/statusapi"
	"github.com/cyphonic/cyphonic/node"
)

const (
	defaultConfigPath = "/etc/cyphonic/node.yaml"
	askTimeout        = 20 * time.Second
)

// flags are the options of all verbs.
type flags struct {
	config, socket, output string
	logging                program.Logging
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return program.Execute(ctx, newRoot(stdout, stderr), args)
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	var f flags
	root := program.NewRoot("cyphonic-node", "The agent of an end device", `The agent of an end device: virtual interface, resolver, tunnels.

Exit codes: 0 done, or ended by SIGTERM or SIGINT; 1 failed; 2 wrong arguments or configuration.`, stdout, stderr)
	p := root.PersistentFlags()
	p.StringVar(&f.config, "config", defaultConfigPath, "configuration file")
	p.StringVar(&f.socket, "socket", "", "status socket; default: that of the configuration")
	f.logging.AddFlags(p)
	root.AddCommand(runCommand(&f, stderr), statusCommand(&f, stdout), connectCommand(&f, stdout), configCommand(&f, stdout))
	return root
}

func runCommand(f *flags, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Run the agent in the foreground", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := f.logging.New(stderr)
			if err != nil {
				return err
			}
			config, err := node.LoadConfig(f.config)
			if err != nil {
				return err
			}
			n, err := node.New(config, program.Version(), log)
			if err != nil {
				return err
			}
			if err := n.Run(cmd.Context()); err != nil {
				return program.Fail(err)
			}
			return nil
		},
	}
}

func statusCommand(f *flags, stdout io.Writer) *cobra.Command {
	status := &cobra.Command{
		Use: "status", Short: "Show what the running agent does", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.output != "table" && f.output != "json" {
				return fmt.Errorf("--output %q is not table or json", f.output)
			}
			var s node.Status
			if err := ask(cmd.Context(), f, func(ctx context.Context, c *statusapi.Client) error { return c.Status(ctx, &s) }); err != nil {
				return err
			}
			if f.output == "json" {
				return program.PrintJSON(stdout, s)
			}
			return writeStatus(stdout, s)
		},
	}
	status.Flags().StringVarP(&f.output, "output", "o", "table", "table or json")
	return status
}

func connectCommand(f *flags, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "connect NAME", Short: "Reach a peer by FQDN, short name or virtual IP, and say how", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var peer node.Connected
			if err := ask(cmd.Context(), f, func(ctx context.Context, c *statusapi.Client) error { return c.Connect(ctx, args[0], &peer) }); err != nil {
				return err
			}
			path := "directly"
			if peer.Relayed {
				path = "through the relay"
			}
			_, err := fmt.Fprintf(stdout, "%s is reached %s: %s\n", peer.FQDN, path, addresses(peer.VirtualIPv4, peer.VirtualIPv6))
			return err
		},
	}
}

// ask talks to the running agent.
func ask(ctx context.Context, f *flags, call func(context.Context, *statusapi.Client) error) error {
	socket := f.socket
	if socket == "" {
		config, err := node.LoadConfig(f.config)
		if err != nil {
			return fmt.Errorf("%w\n(name the agent's socket with --socket to do without a configuration)", err)
		}
		socket = config.StatusSocket
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := call(ctx, statusapi.NewClient(socket)); err != nil {
		return program.Fail(err)
	}
	return nil
}

func configCommand(f *flags, stdout io.Writer) *cobra.Command {
	config := &cobra.Command{Use: "config", Short: "About the configuration file", Args: cobra.NoArgs, RunE: program.NeedVerb}
	config.AddCommand(&cobra.Command{
		Use: "validate", Short: "Check the configuration and the trust file it names", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := node.LoadConfig(f.config)
			if err != nil {
				return err
			}
			if _, err := identity.LoadTrust(c.Trust); err != nil {
				return err
			}
			_, err = fmt.Fprintf(stdout, "%s is valid\n", f.config)
			return err
		},
	})
	return config
}
