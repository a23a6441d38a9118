// Command cyphonic-lab shows and measures CYPHONIC in network namespaces of this machine: `demo` by itself, `up` and
// `down` for a network to look around in, `cloud` for replicas behind routers, `figures` for a table of measurements. It is a tool for developers and needs
// root; it is no part of an installation.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/internal/lab/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := root().ExecuteContext(ctx)
	stop()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		os.Exit(exit.ExitCode()) // of the command that `exec` ran
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cyphonic-lab:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	options := demo.Options{Out: os.Stdout}
	command := &cobra.Command{
		Use:           "cyphonic-lab",
		Short:         "Show and measure CYPHONIC in network namespaces of this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := command.PersistentFlags()
	flags.StringVar(&options.Programs, "programs", besideThisProgram(), "directory of the built programs")
	flags.StringVar(&options.Manifests, "manifests", "manifests/examples", "directory of the manifests to apply")
	command.AddCommand(
		&cobra.Command{
			Use: "demo", Short: "Build the network, show it working, remove it", Args: cobra.NoArgs,
			RunE: func(command *cobra.Command, _ []string) error { return demo.Run(command.Context(), options) },
		},
		&cobra.Command{
			Use: "up", Short: "Build the network, leave it running and print how to use it", Args: cobra.NoArgs,
			RunE: func(command *cobra.Command, _ []string) error { return demo.Up(command.Context(), options) },
		},
		&cobra.Command{
			Use: "down", Short: "Remove the network that up left running", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return demo.Down(options) },
		},
		&cobra.Command{
			Use: "exec HOST COMMAND...", Short: "Run a command in a host of the running network", Args: cobra.MinimumNArgs(2),
			DisableFlagParsing: true,
			RunE:               func(_ *cobra.Command, args []string) error { return demo.Exec(args[0], args[1:]) },
		},
		&cobra.Command{
			Use: "block", Short: "Drop the direct path between the sites of the running network", Args: cobra.NoArgs,
			RunE: func(command *cobra.Command, _ []string) error { return demo.Block(command.Context(), options, true) },
		},
		&cobra.Command{
			Use: "unblock", Short: "Let the direct path through again", Args: cobra.NoArgs,
			RunE: func(command *cobra.Command, _ []string) error { return demo.Block(command.Context(), options, false) },
		},
		&cobra.Command{
			Use: "figures", Short: "Measure tunnel set-up, RTT and throughput and print a table", Args: cobra.NoArgs,
			RunE: func(command *cobra.Command, _ []string) error { return demo.Figures(command.Context(), options) },
		},
		cloudCommand(&options.Programs),
		helper(),
	)
	return command
}

// besideThisProgram is the directory of this program: make builds all programs into one.
func besideThisProgram() string {
	path, err := os.Executable()
	if err != nil {
		return "bin"
	}
	return filepath.Dir(path)
}
