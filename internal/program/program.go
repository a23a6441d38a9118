// Package program is what the long-running programs share on their command
// line: exit codes, logging flags, version, and how a verb's fault is told. It
// must not know any of the programs.
package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes.
const (
	ExitOK      = 0
	ExitFailure = 1 // while starting or running
	ExitUsage   = 2 // wrong arguments or configuration
)

// failure is a fault of what a verb did; every other fault is one of usage.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// Fail marks a verb's fault as ExitFailure.
func Fail(err error) error { return failure{err} }

// Main runs a program until SIGTERM or SIGINT and exits. A second signal kills:
// the handler is gone once the first one has come.
func Main(execute func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Execute runs one command line, tells its fault and returns the exit code.
func Execute(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	_, _ = fmt.Fprintf(root.ErrOrStderr(), "%s: %v\n", root.Name(), err)
	if errors.As(err, new(failure)) {
		return ExitFailure
	}
	return ExitUsage
}

// NewRoot makes a program's command; its verbs are added by the caller.
func NewRoot(name, short, long string, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use: name, Short: short, Long: long,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs, RunE: NeedVerb,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(&cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(stdout, name, Version())
			return err
		},
	})
	return root
}

// NeedVerb makes a missing or unknown verb an error: without it cobra prints
// the help and succeeds.
func NeedVerb(cmd *cobra.Command, _ []string) error {
	return fmt.Errorf("name a verb; \"%s --help\" lists them", cmd.CommandPath())
}

// Logging is the flags that say what is logged and how.
type Logging struct{ format, level string }

// AddFlags makes the flags.
func (l *Logging) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&l.format, "log-format", "text", "text or json")
	flags.StringVar(&l.level, "log-level", "info", "debug, info, warn or error")
}

// New makes the logger, or names the flag that is wrong.
func (l *Logging) New(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is not debug, info, warn or error", l.level)
	}
	options := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("--log-format %q is not text or json", l.format)
}

// PrintJSON writes v for people and programs alike.
func PrintJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// release is the version that the linker puts in: -X github.com/cyphonic/cyphonic/internal/program.release=1.2.3.
var release string

// Version is the release that the program was built as, else the module version if it was installed as a module, else
// the commit it was built from, with the toolchain and the platform.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	version := info.Main.Version
	if release != "" {
		version = release
	}
	if version == "" || version == "(devel)" {
		version = "devel"
	}
	if revision := settings["vcs.revision"]; revision != "" {
		version += " " + revision
	}
	if settings["vcs.modified"] == "true" {
		version += " (modified)"
	}
	return version + " " + info.GoVersion + " " + settings["GOOS"] + "/" + settings["GOARCH"]
}
