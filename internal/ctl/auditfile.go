package ctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/auditchain"
)

func (c *command) auditExportCommand() *cobra.Command {
	var (
		flags auditFlags
		file  string
	)
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the audit log as lines of JSON",
		Long: `Write the audit log as lines of JSON, one record each, to standard output or a new file. Records of the last seconds that have no place in the chain yet are left
out. The whole log, without filters, can be verified later with audit verify --file.`,
		Example:     "  cyphonicctl audit export --file audit.ndjson",
		Args:        cobra.NoArgs,
		Annotations: formats(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := flags.query(c.Now())
			if err != nil {
				return err
			}
			if file == "" {
				_, err := c.auditExport(cmd.Context(), query, c.Stdout)
				return err
			}
			var records int
			err = writeOnce(file, func(out io.Writer) error {
				records, err = c.auditExport(cmd.Context(), query, out)
				return err
			})
			if err == nil {
				fmt.Fprintf(c.Stderr, "%s in %s.\n", count(int64(records), "record", "records"), file)
			}
			return err
		},
	}
	flags.add(cmd, "0")
	cmd.Flags().StringVar(&file, "file", "", "new file to write; it is not overwritten")
	return cmd
}

func (c *command) auditExport(ctx context.Context, query api.ListAuditRecordsParams, out io.Writer) (records int, err error) {
	p := c.newProgress("exporting")
	defer p.done()
	lines := bufio.NewWriter(out)
	_, err = c.auditRecords(ctx, query, 0, nil, func(r api.AuditRecord) error {
		if r.Sequence == 0 {
			return nil
		}
		records++
		p.at(records, 0)
		return encodeJSON(lines, r, "")
	})
	return records, errors.Join(err, lines.Flush())
}

func (c *command) auditVerifyCommand() *cobra.Command {
	var file, head string
	cmd := &cobra.Command{
		Use:   "verify [--file FILE]",
		Short: "Verify the chain of the audit log",
		Long: `Verify the chain of the audit log, on this side: that no record was changed, removed or put in. The log is that of the manager or, with --file, one that audit export
wrote.

A log that was cut off at its end or written anew as a whole is consistent in itself. With --head the last record is remembered in a file; the next verification with
the same file notices both. Keep it where those who can write the database cannot.

Exit codes: 0 the log is whole, 1 it is not; others as everywhere.`,
		Example:     "  cyphonicctl audit verify --head ~/.config/cyphonic/audit-head",
		Args:        cobra.NoArgs,
		Annotations: formats(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			remembered, err := readHead(head)
			if err != nil {
				return &usageError{err}
			}
			records, base, last, err := c.auditVerify(cmd.Context(), file, remembered)
			if err != nil {
				return err
			}
			if remembered.Sequence > 0 && remembered.Sequence < base.Sequence {
				c.warn("the log begins after record %d, which was remembered: what became of it cannot be verified any more; verify more often", remembered.Sequence)
			}
			if head != "" && last.Sequence > 0 {
				if err := writeHead(head, last); err != nil {
					return err
				}
			}
			fmt.Fprintf(c.Stdout, "%s verified, the last is %d (%s)\n", count(records, "record", "records"), last.Sequence, last.Hash)
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "file that audit export wrote, instead of the log of the manager")
	cmd.Flags().StringVar(&head, "head", "", "file that remembers the last record that was verified; made if there is none")
	return cmd
}

func (c *command) auditVerify(ctx context.Context, file string, remembered auditchain.Point) (records int64, base, last auditchain.Point, err error) {
	p := c.newProgress("verifying")
	defer p.done()
	var verifier *auditchain.Verifier
	add := func(r api.AuditRecord) error {
		if r.Sequence == 0 {
			return nil // has no place in the chain yet
		}
		records++
		p.at(int(records), 0)
		return verifier.Add(r)
	}
	begin := func(b auditchain.Point) {
		base, verifier = b, auditchain.NewVerifier(b, remembered)
	}
	if file != "" {
		err = auditFile(file, begin, add)
	} else {
		_, err = c.auditRecords(ctx, api.ListAuditRecordsParams{}, 0, begin, add)
	}
	if err != nil {
		return records, base, last, err
	}
	last, err = verifier.End()
	return records, base, last, err
}

// auditFile reads an export. It begins where its first record says; whether that is the right place only a remembered head can tell.
func auditFile(file string, begin func(auditchain.Point), add func(api.AuditRecord) error) error {
	in, err := os.Open(file)
	if err != nil {
		return &usageError{err}
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxAuditRecord)
	n := 0
	for lines.Scan() {
		n++
		var r api.AuditRecord
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return &invalidError{fmt.Errorf("%s:%d: is no audit record: %w", file, n, err)}
		}
		if n == 1 {
			begin(auditchain.Point{Sequence: r.Sequence - 1, Hash: r.PreviousHash})
		}
		if err := add(r); err != nil {
			return fmt.Errorf("%s:%d: %w", file, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if n == 0 {
		return &invalidError{fmt.Errorf("%s has no record", file)}
	}
	return nil
}

func readHead(file string) (head auditchain.Point, err error) {
	if file == "" {
		return head, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return head, nil
	}
	if err != nil {
		return head, err
	}
	if err := json.Unmarshal(text, &head); err != nil || head.Sequence < 1 || head.Hash == "" {
		return head, fmt.Errorf("%s is no file that --head has written", file)
	}
	return head, nil
}

// writeHead replaces the file as a whole, so that it is never half written.
func writeHead(file string, head auditchain.Point) error {
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), ".audit-head-*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(append(text, '\n'))
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}
