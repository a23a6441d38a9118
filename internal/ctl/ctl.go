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

	"github.com/cyphonic/cyphonic/api/client"
)

// Environment is what a command gets from outside besides its arguments.
type Environment struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
	Rand           io.Reader
}

// OperatingSystem is the environment of a process.
func OperatingSystem() Environment {
	return Environment{os.Stdin, os.Stdout, os.Stderr, os.Getenv, time.Now, rand.Reader}
}

// Run executes one command line and returns the exit code of the process.
func Run(ctx context.Context, args []string, env Environment) int {
	c := &command{Environment: env}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !c.started {
		err = &usageError{err}
	}
	if err == nil {
		return exitOK
	}
	c.report(err)
	return exitCode(err)
}

// command is the state of one command line: the global flags and what is derived from them.
type command struct {
	Environment
	configPath  string
	contextName string
	output      string
	started     bool // the arguments were good, a verb has begun
}

const rootHelp = `cyphonicctl makes the keys of a CYPHONIC installation, checks and applies manifests, and shows resources.

Resources are named KIND NAME or KIND/NAME; a kind is written as node, nodes, Node or by its short name (net, cs, gn, ap, et).

The manager to speak to, its trusted certificates and the token are in a configuration file, which ` + "`cyphonicctl init`" + ` writes. It is looked for
at --config, then $CYPHONIC_CONFIG, then cyphonic/config.yaml in the user's configuration directory (on Linux ~/.config).
` + exitHelp

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "cyphonicctl",
		Short:             "Operate a CYPHONIC installation",
		Long:              rootHelp,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: c.begin,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.configPath, "config", "", "configuration file")
	flags.StringVar(&c.contextName, "context", "", "context of the configuration file (default: its currentContext)")
	flags.StringVarP(&c.output, "output", "o", "", "output format: table, wide, json, yaml or name (default depends on the verb)")
	root.AddCommand(c.initCommand(), c.applyCommand(), c.validateCommand(), c.getCommand(), c.describeCommand(), c.watchCommand(),
		c.deleteCommand(), c.tokenCommand(), c.hashPasswordCommand(), c.versionCommand())
	return root
}

func (c *command) begin(*cobra.Command, []string) error {
	switch c.output {
	case "", "table", "wide", "json", "yaml", "name":
		c.started = true
		return nil
	}
	return fmt.Errorf("unknown output format %q: use table, wide, json, yaml or name", c.output)
}

// report writes an error to standard error, one line for each of several.
func (c *command) report(err error) {
	if several, ok := err.(interface{ Unwrap() []error }); ok { // joined ones only, not those that wrap joined ones
		for _, one := range several.Unwrap() {
			c.report(one)
		}
		return
	}
	fmt.Fprintln(c.Stderr, "error:", err)
}

// connect returns a client for the chosen context.
func (c *command) connect() (*client.Client, error) {
	chosen, err := c.loadContext()
	if err != nil {
		return nil, err
	}
	return chosen.connect()
}
