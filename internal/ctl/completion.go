package ctl

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

func (c *command) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what makes a shell complete kinds, names, contexts and flags",
		Long: `Print what makes a shell complete kinds, names, contexts and flags. Names are those that the manager of the context knows.

Put the output where the shell looks for completions, or evaluate it in its start file.`,
		Example: `  source <(cyphonicctl completion bash)
  cyphonicctl completion bash > /etc/bash_completion.d/cyphonicctl
  cyphonicctl completion zsh > "${fpath[1]}/_cyphonicctl"
  cyphonicctl completion fish > ~/.config/fish/completions/cyphonicctl.fish`,
		Args:        cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs:   []string{"bash", "zsh", "fish"},
		Annotations: formats(""),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(c.Stdout, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(c.Stdout)
			}
			return cmd.Root().GenFishCompletion(c.Stdout, true)
		},
	}
}

// completeFlags is for the flags that all verbs have.
func (c *command) completeFlags(root *cobra.Command) {
	err := errors.Join(
		root.RegisterFlagCompletionFunc("context", c.completeContexts),
		root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp)),
		root.RegisterFlagCompletionFunc("output", completeFormats),
	)
	if err != nil {
		panic(err) // a flag that is not there is a fault of this program
	}
}

func completeFormats(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	accepted, ok := cmd.Annotations[formatsKey]
	if !ok {
		accepted = standardFormats
	}
	return strings.Split(strings.ReplaceAll(accepted, "…", ""), ","), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func (c *command) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	path, err := c.configFile()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	config, err := readConfiguration(path)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return config.names(), cobra.ShellCompDirectiveNoFileComp
}

// completeKinds is for verbs that take a kind first.
func completeKinds(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var plurals []string
	for _, kind := range api.Kinds() {
		if strings.HasPrefix(kind.Plural, begun) {
			plurals = append(plurals, kind.Plural)
		}
	}
	return plurals, cobra.ShellCompDirectiveNoFileComp
}

// completeTargets is for verbs that take KIND NAME… or KIND/NAME…: kinds first, then names that the manager knows.
func (c *command) completeTargets(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	word, name, slash := strings.Cut(begun, "/")
	switch {
	case slash:
	case len(args) == 0:
		return completeKinds(cmd, args, begun)
	case strings.Contains(args[0], "/"):
		plurals, directive := completeKinds(cmd, nil, begun)
		return plurals, directive | cobra.ShellCompDirectiveNoSpace
	default:
		word, name = args[0], begun
	}
	kind, err := kindOf(word)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var offered []string
	for _, found := range c.names(cmd.Context(), kind) {
		switch {
		case !strings.HasPrefix(found, name):
		case slash:
			offered = append(offered, word+"/"+found)
		case !slices.Contains(args, found):
			offered = append(offered, found)
		}
	}
	return offered, cobra.ShellCompDirectiveNoFileComp
}

// names asks the manager, not for long and not for many. A shell has no use for errors.
func (c *command) names(ctx context.Context, kind api.Kind) []string {
	quiet := *c
	quiet.Stderr = io.Discard
	manager, err := quiet.connect()
	if err != nil {
		return nil
	}
	defer manager.Close()
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	var names []string
	errEnough := errors.New("enough")
	_ = manager.ListPages(ctx, kind, client.ListOptions{Limit: maxCompletions}, func(page api.List) error {
		for _, o := range page.Items {
			names = append(names, o.Meta().Name)
		}
		return errEnough
	})
	return names
}
