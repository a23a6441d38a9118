// Package ctl is the command line cyphonicctl, all of it but main: one file per verb. It speaks to the manager through api/client, and to files. It must not hold
// rules about resources; those are in api.
package ctl

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cyphonic/cyphonic/api/client"
)

// Environment is what a command gets from outside besides its arguments.
type Environment struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
	Rand           io.Reader
	Terminal       func(stream any) bool // whether somebody looks at the stream
}

// OperatingSystem is the environment of a process.
func OperatingSystem() Environment {
	return Environment{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Now: time.Now, Rand: rand.Reader, Terminal: isTerminal,
	}
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Run executes one command line and returns the exit code of the process.
func Run(ctx context.Context, args []string, env Environment) int {
	c := &command{Environment: env}
	c.Stdout, c.Stderr = c.onScreen(env.Stdout), c.onScreen(env.Stderr)
	root := c.root()
	root.SetArgs(args)
	root.SetIn(env.Stdin)
	root.SetOut(c.Stdout)
	root.SetErr(c.Stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !c.started {
		err = &usageError{err}
	}
	if err == nil {
		return exitOK
	}
	if code, ok := err.(exitStatus); ok {
		return int(code)
	}
	c.report(err)
	return exitCode(err)
}

// command is the state of one command line: the global flags and what is derived from them.
type command struct {
	Environment
	configPath  string
	contextName string
	output      string // one of the formats below; "": the default of the verb
	template    string // what stands behind jsonpath= or custom-columns=
	color       string
	started     bool // the arguments were good, a verb has begun
}

const rootHelp = `cyphonicctl makes the keys of a CYPHONIC installation, checks and applies manifests, and shows resources.

Resources are named KIND NAME or KIND/NAME; a kind is written as node, nodes, Node or by its short name (net, cs, bp, ba, gn, ap, et, at, rb, gs, rep, ev).

The managers to speak to, their trusted certificates and the credential are in a configuration file, which ` + "`cyphonicctl init`" + ` writes. It is looked for
at --config, then $CYPHONIC_CONFIG, then cyphonic/config.yaml in the user's configuration directory (on Linux ~/.config).

Colours and progress are shown on terminals only; NO_COLOR, TERM=dumb and --color say otherwise.
` + exitHelp

const rootExamples = `  cyphonicctl init --directory site --address 203.0.113.10
  cyphonicctl apply -f manifests/
  cyphonicctl get generalnodes -o wide
  cyphonicctl explain generalnode.spec`

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "cyphonicctl",
		Short:             "Operate a CYPHONIC installation",
		Long:              rootHelp,
		Example:           rootExamples,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: c.begin,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.configPath, "config", "", "configuration file")
	flags.StringVar(&c.contextName, "context", "", "context of the configuration file (default: its currentContext)")
	flags.StringVarP(&c.output, "output", "o", "", "output format (default depends on the verb)")
	flags.StringVar(&c.color, "color", "auto", "colours: auto (on terminals), always or never")
	root.AddCommand(
		c.getCommand(),
		c.describeCommand(),
		c.watchCommand(),
		c.waitCommand(),
		c.explainCommand(),
		c.eventsCommand(),
		c.editCommand(),
		c.labelCommand(),
		c.annotateCommand(),
		c.deleteCommand(),
		c.applyCommand(),
		c.diffCommand(),
		c.validateCommand(),
		c.exportCommand(),
		c.accessCommand(),
		c.auditCommand(),
		c.drainCommand(),
		c.tokenCommand(),
		c.backupCommand(),
		c.restoreCommand(),
		c.initCommand(),
		c.hashPasswordCommand(),
		c.configCommand(),
		c.loginCommand(),
		c.logoutCommand(),
		c.whoamiCommand(),
		c.completionCommand(),
		c.versionCommand(),
	)
	c.completeFlags(root)
	c.noteStart(root)
	return root
}

// report writes an error to standard error, one line for each of several.
func (c *command) report(err error) {
	if several, ok := err.(interface{ Unwrap() []error }); ok { // joined ones only, not those that wrap joined ones
		for _, one := range several.Unwrap() {
			c.report(one)
		}
		return
	}
	fmt.Fprintln(c.Stderr, c.paint(c.Stderr, styleBad, "error:"), err)
}

// warn writes what is worth knowing but no error.
func (c *command) warn(format string, args ...any) {
	fmt.Fprintln(c.Stderr, c.paint(c.Stderr, styleMiddling, "warning:"), fmt.Sprintf(format, args...))
}

// connect returns a client for the chosen context.
func (c *command) connect() (*client.Client, error) {
	chosen, err := c.loadContext()
	if err != nil {
		return nil, err
	}
	return c.connectTo(chosen)
}
