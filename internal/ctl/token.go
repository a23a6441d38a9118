package ctl

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
)

type tokenFlags struct {
	node, adapter string
	ttl           time.Duration
}

func (c *command) tokenCommand() *cobra.Command {
	parent := &cobra.Command{
		Use: "token", Short: "Make enrolment tokens", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &usageError{errors.New("token needs a verb: create")}
		},
	}
	var flags tokenFlags
	create := &cobra.Command{
		Use:   "create --node NAME | --adapter NAME",
		Short: "Make a token with which a device enrols its key, once",
		Long: `Make a token with which a device enrols its key, once. The secret is printed to standard output and cannot be had again: the manager keeps its hash only.
Put it into the file that enrollmentTokenFile names in the configuration of the device.`,
		Example: "  cyphonicctl token create --node viewer --ttl 1h > viewer.token",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.output == "name" {
				return &usageError{errors.New("-o name would lose the secret")}
			}
			wanted, err := c.wantedToken(flags)
			if err != nil {
				return err
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			defer manager.Close()
			made, err := manager.Create(cmd.Context(), wanted)
			if err != nil {
				return err
			}
			return c.printToken(made.(*api.EnrollmentToken))
		},
	}
	create.Flags().StringVar(&flags.node, "node", "", "Node that may use it")
	create.Flags().StringVar(&flags.adapter, "adapter", "", "Adapter that may use it")
	create.Flags().DurationVar(&flags.ttl, "ttl", api.DefaultTokenTTLSeconds*time.Second, "time during which it can be used")
	parent.AddCommand(create)
	return parent
}

// wantedToken has a random suffix in its name: a device may be given several tokens.
func (c *command) wantedToken(flags tokenFlags) (*api.EnrollmentToken, error) {
	kind, name := api.SubjectKindNode, flags.node
	if flags.adapter != "" {
		kind, name = api.SubjectKindAdapter, flags.adapter
	}
	if (flags.node == "") == (flags.adapter == "") {
		return nil, &usageError{errors.New("give either --node or --adapter")}
	}
	if flags.ttl%time.Second != 0 {
		return nil, &usageError{fmt.Errorf("--ttl %s is not in whole seconds", flags.ttl)}
	}
	var suffix [4]byte
	if _, err := io.ReadFull(c.Rand, suffix[:]); err != nil {
		return nil, err
	}
	token := &api.EnrollmentToken{
		Metadata: api.ObjectMeta{Name: name[:min(len(name), api.MaxName-9)] + "-" + hex.EncodeToString(suffix[:])},
		Spec:     api.EnrollmentTokenSpec{SubjectKind: kind, SubjectName: name, TtlSeconds: int64(flags.ttl / time.Second)},
	}
	token.SetType()
	return token, token.Validate().Err()
}

func (c *command) printToken(token *api.EnrollmentToken) error {
	if token.Status.Token == "" {
		return errors.New("the manager made the token but did not answer with its secret: delete it and make another")
	}
	switch c.output {
	case "json", "yaml":
		return c.printObject(token)
	}
	fmt.Fprintf(c.Stderr, "%s for %s %s, good until %s. This is the only time that its secret is shown.\n",
		nameOf(token), token.Spec.SubjectKind, token.Spec.SubjectName, timeText(token.Status.ExpirationTimestamp))
	_, err := fmt.Fprintln(c.Stdout, token.Status.Token)
	return err
}
