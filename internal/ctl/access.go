package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

// accessNo is the exit code of an answer that is no.
const accessNo = exitStatus(1)

func (c *command) accessCommand() *cobra.Command {
	parent := &cobra.Command{
		Use: "access", Short: "Ask who may reach whom, and what you may do", Args: cobra.NoArgs,
		Example: "  cyphonicctl access can-reach node/viewer generalnode/cam1",
		RunE: func(*cobra.Command, []string) error {
			return &usageError{errors.New("access needs a verb: can-reach or can-i")}
		},
	}
	parent.AddCommand(c.canReachCommand(), c.canICommand())
	return parent
}

func (c *command) canICommand() *cobra.Command {
	var network string
	cmd := &cobra.Command{
		Use:   "can-i VERB KIND [NAME]",
		Short: "Ask whether you may do something",
		Long: `Ask whether you may do something: VERB is get, list, watch, create, update, patch, delete or report, KIND a kind of resource or one of ` + strings.Join(pseudoKinds(), ", ") + `.

Exit codes: 0 yes, 1 no; others as everywhere.`,
		Example:     "  cyphonicctl access can-i create generalnodes --network factory\n  cyphonicctl access can-i get Audit",
		Args:        cobra.RangeArgs(2, 3),
		Annotations: formats("table,json,yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			review, err := reviewOf(args, network)
			if err != nil {
				return err
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			defer manager.Close()
			decision, err := manager.AccessReview(cmd.Context(), review)
			if err != nil {
				return err
			}
			return c.printDecision(decision)
		},
	}
	cmd.Flags().StringVar(&network, "network", "", "network of the resource; none: cluster-wide, or all networks")
	return cmd
}

// pseudoKinds are what roles speak of besides the kinds of resources.
func pseudoKinds() []string {
	return []string{"Audit", "Backup", "Restore", "Metrics", "Plan", "Reachability"}
}

func reviewOf(args []string, network string) (api.AccessReview, error) {
	review := api.AccessReview{Verb: strings.ToLower(args[0]), Network: network}
	if len(args) == 3 {
		review.Name = args[2]
	}
	if i := slices.IndexFunc(pseudoKinds(), func(name string) bool { return strings.EqualFold(name, args[1]) }); i >= 0 {
		review.Kind = pseudoKinds()[i]
		return review, nil
	}
	word, name, slashed := strings.Cut(args[1], "/")
	if slashed && review.Name == "" {
		review.Name = name
	}
	kind, err := kindOf(word)
	if err != nil {
		return review, &usageError{fmt.Errorf("%w, or %s", err, strings.Join(pseudoKinds(), ", "))}
	}
	review.Kind = kind.Name
	return review, nil
}

func (c *command) printDecision(decision api.AccessDecision) error {
	answer, s := "no", styleBad
	if decision.Allowed {
		answer, s = "yes", styleGood
	}
	switch c.output {
	case "json", "yaml":
		if err := c.printObject(decision); err != nil {
			return err
		}
	default:
		line := c.paint(c.Stdout, s, answer)
		if decision.Reason != "" {
			line += ": " + decision.Reason
		}
		if _, err := fmt.Fprintln(c.Stdout, line); err != nil {
			return err
		}
	}
	if !decision.Allowed {
		return accessNo
	}
	return nil
}

type reachFlags struct {
	manifests manifestFlags
	protocol  string
	port      int
}

func (c *command) canReachCommand() *cobra.Command {
	var flags reachFlags
	cmd := &cobra.Command{
		Use:   "can-reach FROM TO",
		Short: "Ask whether a device may open flows to another, and why",
		Long: `Ask whether a device may open flows to another: which policies allow it, and for each policy that comes near why it does not. Devices are KIND/NAME, as in
node/viewer. Disabled devices reach nothing.

With -f the question is asked twice: as things are, and as they would be if the manifests were applied.

Exit codes: 0 it may, 1 it may not (with -f: afterwards); others as everywhere.`,
		Example: `  cyphonicctl access can-reach node/viewer generalnode/cam1 --protocol tcp --port 554
  cyphonicctl access can-reach node/viewer generalnode/cam1 -f policies.yaml`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: cobra.NoFileCompletions,
		Annotations:       formats("table,json,yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, to, err := deviceTargets(args)
			if err != nil {
				return err
			}
			return c.canReach(cmd.Context(), from, to, &flags)
		},
	}
	flags.manifests.add(cmd)
	cmd.Flags().StringVar(&flags.protocol, "protocol", "", "tcp, udp or icmp; none: any")
	cmd.Flags().IntVar(&flags.port, "port", 0, "destination port, with tcp or udp; none: any")
	return cmd
}

func deviceTargets(args []string) (from, to target, err error) {
	targets, err := slashed(args)
	if err != nil {
		return target{}, target{}, err
	}
	for _, t := range targets {
		if t.kind.Name != "Node" && t.kind.Name != "GeneralNode" {
			return target{}, target{}, &usageError{fmt.Errorf("%s is no device: devices are node/NAME and generalnode/NAME", t)}
		}
	}
	return targets[0], targets[1], nil
}

func (c *command) canReach(ctx context.Context, from, to target, flags *reachFlags) error {
	manager, err := c.connect()
	if err != nil {
		return err
	}
	defer manager.Close()
	if len(flags.manifests.files) > 0 {
		return c.wouldReach(ctx, manager, from, to, flags)
	}
	answer, err := manager.Reachability(ctx, api.GetReachabilityParams{From: from.String(), To: to.String(), Protocol: strings.ToLower(flags.protocol), Port: flags.port})
	if err != nil {
		return err
	}
	if err := c.printReachability(answer); err != nil {
		return err
	}
	if !answer.Allowed {
		return accessNo
	}
	return nil
}

func (c *command) printReachability(r api.Reachability) error {
	if c.output == "json" || c.output == "yaml" {
		return c.printObject(r)
	}
	answer := c.paint(c.Stdout, styleBad, "may not reach")
	if r.Allowed {
		answer = c.paint(c.Stdout, styleGood, "may reach")
	}
	fmt.Fprintf(c.Stdout, "%s %s %s\n", r.From, answer, r.To)
	rows := [][]string{{"POLICY", "REASON"}}
	for _, reason := range r.Reasons {
		rows = append(rows, []string{orDash(reason.Policy), reason.Reason})
	}
	if len(rows) > 1 {
		if err := printRows(c.Stdout, rows); err != nil {
			return err
		}
	}
	rows = [][]string{{"ALLOWED BY", "FLOWS"}}
	if !r.Allowed {
		rows[0][1] = "OTHER FLOWS"
	}
	for _, f := range r.Flows {
		rows = append(rows, []string{orDash(f.Policy), flowsText([]api.ReachableFlow{f})})
	}
	if len(rows) == 1 {
		return nil
	}
	return printRows(c.Stdout, rows)
}

// live reads what may not exist.
func live(ctx context.Context, manager *client.Client, t target) (api.Object, error) {
	o, err := manager.Get(ctx, t.kind, t.name)
	if client.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return o, nil
}
