package ctl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
)

func (c *command) auditCommand() *cobra.Command {
	parent := &cobra.Command{
		Use: "audit", Short: "Read, keep and verify the audit log", Args: cobra.NoArgs,
		Example: "  cyphonicctl audit list --kind Node",
		RunE: func(*cobra.Command, []string) error {
			return &usageError{errors.New("audit needs a verb: list, export or verify")}
		},
	}
	parent.AddCommand(c.auditListCommand(), c.auditExportCommand(), c.auditVerifyCommand())
	return parent
}

// auditFlags choose records.
type auditFlags struct {
	since, until                                string
	subject, verb, kind, name, network, outcome string
	limit                                       int
}

func (a *auditFlags) add(cmd *cobra.Command, since string) {
	flags := cmd.Flags()
	flags.StringVar(&a.since, "since", since, "records of this time or later: a duration back from now, as in 1h, or a time as in 2006-01-02T15:04:05Z; 0: all")
	flags.StringVar(&a.until, "until", "", "records before this time, as with --since")
	flags.StringVar(&a.subject, "subject", "", "records of this subject, as in user/alice@example.org")
	flags.StringVar(&a.verb, "verb", "", "records of this verb")
	flags.StringVar(&a.kind, "kind", "", "records about this kind")
	flags.StringVar(&a.name, "name", "", "records about resources of this name")
	flags.StringVar(&a.network, "network", "", "records about resources of this network")
	flags.StringVar(&a.outcome, "outcome", "", "allowed, denied or failed")
}

func (a *auditFlags) query(now time.Time) (query api.ListAuditRecordsParams, err error) {
	query = api.ListAuditRecordsParams{Subject: a.subject, Verb: a.verb, Kind: a.kind, Name: a.name, Network: a.network, Outcome: a.outcome}
	if query.Since, err = timeOf("--since", a.since, now); err != nil {
		return query, err
	}
	if query.Until, err = timeOf("--until", a.until, now); err != nil {
		return query, err
	}
	if kind, err := kindOf(a.kind); err == nil {
		query.Kind = kind.Name
	}
	return query, nil
}

// timeOf reads a duration back from now or a time; nothing and 0 are the zero time.
func timeOf(flag, text string, now time.Time) (time.Time, error) {
	if text == "" || text == "0" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, &usageError{fmt.Errorf("%s %q is neither a duration as in 1h nor a time as in 2006-01-02T15:04:05Z", flag, text)}
	}
	return t.UTC(), nil
}

func (c *command) auditListCommand() *cobra.Command {
	var flags auditFlags
	cmd := &cobra.Command{
		Use:         "list",
		Short:       "Show who did what",
		Example:     "  cyphonicctl audit list --since 1h --outcome denied\n  cyphonicctl audit list --kind accesspolicy --name viewer-to-cameras -o yaml",
		Args:        cobra.NoArgs,
		Annotations: formats("table,wide,json,yaml"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.limit < 0 {
				return &usageError{errors.New("--limit is negative")}
			}
			query, err := flags.query(c.Now())
			if err != nil {
				return err
			}
			return c.auditList(cmd.Context(), query, flags.limit)
		},
	}
	flags.add(cmd, auditSinceDefault.String())
	cmd.Flags().IntVar(&flags.limit, "limit", 1000, "show at most so many records, the oldest first; 0: all")
	return cmd
}

// errEnough ends a query early.
var errEnough = errors.New("enough")

// auditRecords hands over records in the order of the log, up to limit if that is not 0, and tells whether there are more.
func (c *command) auditRecords(
	ctx context.Context, query api.ListAuditRecordsParams, limit int, begin func(api.AuditBase), handle func(api.AuditRecord) error,
) (more bool, err error) {
	manager, err := c.connect()
	if err != nil {
		return false, err
	}
	defer manager.Close()
	done, pages := 0, 0
	err = manager.AuditPages(ctx, query, func(page api.AuditRecordList) error {
		if pages++; pages == 1 && begin != nil {
			begin(page.Base)
		}
		for _, record := range page.Items {
			if limit > 0 && done == limit {
				return errEnough
			}
			done++
			if err := handle(record); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, err
}

func (c *command) auditList(ctx context.Context, query api.ListAuditRecordsParams, limit int) error {
	rows := [][]string{auditHeadings(c.output == "wide")}
	list := api.AuditRecordList{ApiVersion: api.Version, Kind: "AuditRecordList", Items: []api.AuditRecord{}}
	more, err := c.auditRecords(ctx, query, limit, func(base api.AuditBase) { list.Base = base }, func(r api.AuditRecord) error {
		if c.output == "json" || c.output == "yaml" {
			list.Items = append(list.Items, r)
			return nil
		}
		rows = append(rows, c.auditRow(r, c.output == "wide"))
		return nil
	})
	if err != nil {
		return err
	}
	if more {
		c.warn("there are more than %d records: narrow the question, or give --limit", limit)
	}
	switch {
	case c.output == "json" || c.output == "yaml":
		return c.printObject(list)
	case len(rows) == 1:
		fmt.Fprintln(c.Stderr, "No records.")
		return nil
	}
	return printRows(c.Stdout, rows)
}

func auditHeadings(wide bool) []string {
	headings := []string{"TIME", "SUBJECT", "VERB", "RESOURCE", "OUTCOME", "STATUS"}
	if wide {
		headings = append(headings, "NETWORK", "FROM", "REQUEST", "SEQUENCE", "REASON")
	}
	return headings
}

func (c *command) auditRow(r api.AuditRecord, wide bool) []string {
	resource := strings.ToLower(r.Kind)
	if r.Name != "" {
		resource += "/" + r.Name
	}
	row := []string{timeText(r.Time), orDash(r.Subject), r.Verb, orDash(resource), r.Outcome, strconv.Itoa(r.Status)}
	if wide {
		row = append(row, orDash(r.Network), orDash(r.RemoteAddress), orDash(r.RequestId), strconv.FormatInt(r.Sequence, 10), orDash(r.Reason))
	}
	return row
}
