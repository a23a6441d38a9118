package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/statusapi"
	"github.com/cyphonic/cyphonic/node"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // while starting or running
	exitUsage   = 2 // wrong arguments or configuration
)

const (
	defaultConfigPath = "/etc/cyphonic/node.yaml"
	askTimeout        = 20 * time.Second
)

// runError is a fault of what a verb did; everything else is a usage error.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

// flags are the options of all verbs.
type flags struct {
	config, socket, output, logFormat, logLevel string
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(stderr, "cyphonic-node:", err)
	if errors.As(err, new(runError)) {
		return exitFailure
	}
	return exitUsage
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	var f flags
	root := &cobra.Command{
		Use: "cyphonic-node", Short: "The agent of an end device",
		Long: `The agent of an end device: virtual interface, resolver, tunnels.

Exit codes: 0 done, or ended by SIGTERM or SIGINT; 1 failed; 2 wrong arguments or configuration.`,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs, RunE: needVerb,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	p := root.PersistentFlags()
	p.StringVar(&f.config, "config", defaultConfigPath, "configuration file")
	p.StringVar(&f.socket, "socket", "", "status socket; default: that of the configuration")
	p.StringVar(&f.logFormat, "log-format", "text", "text or json")
	p.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	root.AddCommand(runCommand(&f, stderr), statusCommand(&f, stdout), connectCommand(&f, stdout), configCommand(&f, stdout), versionCommand(stdout))
	return root
}

// needVerb makes a missing or unknown verb an error: without it cobra prints the help and succeeds.
func needVerb(cmd *cobra.Command, _ []string) error {
	return fmt.Errorf("name a verb; \"%s --help\" lists them", cmd.CommandPath())
}

func runCommand(f *flags, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Run the agent in the foreground", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(stderr, f.logFormat, f.logLevel)
			if err != nil {
				return err
			}
			config, err := node.LoadConfig(f.config)
			if err != nil {
				return err
			}
			n, err := node.New(config, version(), log)
			if err != nil {
				return err
			}
			if err := n.Run(cmd.Context()); err != nil {
				return runError{err}
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
				return printJSON(stdout, s)
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
		return runError{err}
	}
	return nil
}

func configCommand(f *flags, stdout io.Writer) *cobra.Command {
	config := &cobra.Command{Use: "config", Short: "About the configuration file", Args: cobra.NoArgs, RunE: needVerb}
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

func versionCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(stdout, "cyphonic-node", version())
			return err
		},
	}
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is not debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("--log-format %q is not text or json", format)
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// version is what the Go toolchain recorded about the build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" || s.Key == "vcs.modified" && s.Value == "true" {
			text += " " + s.Key + "=" + s.Value
		}
	}
	return text + " " + info.GoVersion
}
