package ctl

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

type tokenFlags struct {
	node, adapter, api string
	ttl                time.Duration
	rules              []string
	description        string
}

func (c *command) tokenCommand() *cobra.Command {
	parent := &cobra.Command{
		Use: "token", Short: "Make tokens for devices and for programs", Args: cobra.NoArgs,
		Example: "  cyphonicctl token create --node viewer",
		RunE: func(*cobra.Command, []string) error {
			return &usageError{errors.New("token needs a verb: create")}
		},
	}
	var flags tokenFlags
	create := &cobra.Command{
		Use:   "create --node NAME | --adapter NAME | --api NAME",
		Short: "Make a token with which a device enrols its key, once, or with which a program speaks to the manager",
		Long: `Make a token. The secret is printed to standard output and cannot be had again: the manager keeps its hash only.

With --node or --adapter: a device enrols its key with it, once. Put it into the file that enrollmentTokenFile names in the configuration of the device.

With --api: a program speaks to the manager with it, until it expires. It may do what its rules say, and what role bindings give to the token of its name; you can give
it only what you may do yourself. A rule is VERBS:KINDS or VERBS:KINDS@NETWORKS, with commas between several and * for all, as in get,list,watch:Node,GeneralNode@factory.`,
		Example: `  cyphonicctl token create --node viewer --ttl 1h > viewer.token
  cyphonicctl token create --api ci --ttl 720h --rule 'get,list,watch:*' --rule 'create,update,patch,delete:GeneralNode@factory'`,
		Args:        cobra.NoArgs,
		Annotations: formats("table,json,yaml"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			wanted, err := c.wantedToken(flags, cmd.Flags().Changed("ttl"))
			if err != nil {
				return err
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			defer manager.Close()
			made, err := manager.Create(cmd.Context(), wanted, client.WriteOptions{})
			if err != nil {
				return err
			}
			return c.printToken(made)
		},
	}
	create.Flags().StringVar(&flags.node, "node", "", "Node that may use it")
	create.Flags().StringVar(&flags.adapter, "adapter", "", "Adapter that may use it")
	create.Flags().StringVar(&flags.api, "api", "", "name of the token of a program")
	create.Flags().DurationVar(&flags.ttl, "ttl", 0, "time during which it can be used (default 24h for devices, 2160h for programs)")
	create.Flags().StringArrayVar(&flags.rules, "rule", nil, "what a program may do, VERBS:KINDS[@NETWORKS]; may be given several times")
	create.Flags().StringVar(&flags.description, "description", "", "what the token of a program is for")
	parent.AddCommand(create)
	return parent
}

// wantedToken checks the flags; ttlGiven tells that --ttl was among them.
func (c *command) wantedToken(flags tokenFlags, ttlGiven bool) (api.Object, error) {
	subjects := 0
	for _, name := range []string{flags.node, flags.adapter, flags.api} {
		if name != "" {
			subjects++
		}
	}
	switch {
	case subjects != 1:
		return nil, &usageError{errors.New("give one of --node, --adapter and --api")}
	case flags.ttl%time.Second != 0:
		return nil, &usageError{fmt.Errorf("--ttl %s is not in whole seconds", flags.ttl)}
	case ttlGiven && flags.ttl <= 0:
		return nil, &usageError{fmt.Errorf("--ttl %s is not a time to live", flags.ttl)}
	case flags.api == "" && (len(flags.rules) > 0 || flags.description != ""):
		return nil, &usageError{errors.New("--rule and --description go with --api")}
	}
	wanted, err := c.deviceToken(flags)
	if flags.api != "" {
		wanted, err = apiToken(flags)
	}
	if err != nil {
		return nil, err
	}
	wanted.SetType()
	wanted.Default()
	return wanted, wanted.Validate().Err()
}

// deviceToken has a random suffix in its name: a device may be given several tokens.
func (c *command) deviceToken(flags tokenFlags) (api.Object, error) {
	kind, name := api.SubjectKindNode, flags.node
	if flags.adapter != "" {
		kind, name = api.SubjectKindAdapter, flags.adapter
	}
	var suffix [4]byte
	if _, err := io.ReadFull(c.Rand, suffix[:]); err != nil {
		return nil, err
	}
	return &api.EnrollmentToken{
		Metadata: api.ObjectMeta{Name: name[:min(len(name), api.MaxName-9)] + "-" + hex.EncodeToString(suffix[:])},
		Spec:     api.EnrollmentTokenSpec{SubjectKind: kind, SubjectName: name, TtlSeconds: int64(flags.ttl / time.Second)},
	}, nil
}

func apiToken(flags tokenFlags) (api.Object, error) {
	token := &api.APIToken{
		Metadata: api.ObjectMeta{Name: flags.api},
		Spec:     api.APITokenSpec{TtlSeconds: int64(flags.ttl / time.Second), Description: flags.description},
	}
	for _, text := range flags.rules {
		rule, err := ruleOf(text)
		if err != nil {
			return nil, &usageError{err}
		}
		token.Spec.Rules = append(token.Spec.Rules, rule)
	}
	return token, nil
}

// ruleOf reads VERBS:KINDS[@NETWORKS]. Kinds may be written as everywhere.
func ruleOf(text string) (rule api.RoleRule, err error) {
	verbs, rest, ok := strings.Cut(text, ":")
	kinds, networks, narrowed := strings.Cut(rest, "@")
	if !ok || verbs == "" || kinds == "" || narrowed && networks == "" {
		return rule, fmt.Errorf("--rule %q is not of the form VERBS:KINDS or VERBS:KINDS@NETWORKS", text)
	}
	rule.Verbs = strings.Split(strings.ToLower(verbs), ",")
	for word := range strings.SplitSeq(kinds, ",") {
		name := word
		if kind, err := kindOf(word); err == nil {
			name = kind.Name
		}
		rule.Kinds = append(rule.Kinds, name)
	}
	if narrowed {
		rule.Networks = strings.Split(networks, ",")
	}
	return rule, nil
}

// secretOf returns what the answer to a creation shows once, and what the token is for.
func secretOf(made api.Object) (secret, purpose string, until time.Time) {
	switch token := made.(type) {
	case *api.EnrollmentToken:
		return token.Status.Token, fmt.Sprintf("for %s %s", token.Spec.SubjectKind, token.Spec.SubjectName), token.Status.ExpirationTimestamp
	case *api.APIToken:
		return token.Status.Token, "for programs", token.Status.ExpirationTimestamp
	}
	return "", "", time.Time{}
}

func (c *command) printToken(made api.Object) error {
	secret, purpose, until := secretOf(made)
	if secret == "" {
		return errors.New("the manager made the token but did not answer with its secret: delete it and make another")
	}
	switch c.output {
	case "json", "yaml":
		return c.printObject(made)
	}
	fmt.Fprintf(c.Stderr, "%s %s, good until %s. This is the only time that its secret is shown.\n", nameOf(made), purpose, timeText(until))
	_, err := fmt.Fprintln(c.Stdout, secret)
	return err
}
