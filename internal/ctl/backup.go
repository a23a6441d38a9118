package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	encryption "filippo.io/age"
	"github.com/spf13/cobra"
)

type backupFlags struct {
	recipients     []string
	recipientFiles []string
	file           string
}

func (c *command) backupCommand() *cobra.Command {
	var flags backupFlags
	cmd := &cobra.Command{
		Use:   "backup --recipient age1… -o FILE",
		Short: "Write an encrypted copy of the whole state of the managers",
		Long: `Write an encrypted copy of the whole state of the managers: all resources, addresses, enrolled keys and the shared keys of the cloud services. The manager encrypts
it for the recipients (age, https://age-encryption.org/v1): who has the identity of one of them can read it, nobody else, not this program either. Make one with
` + "`cyphonicctl backup keygen`" + ` and keep it away from the backups.

The file has mode 0600 and is never overwritten. It appears under its name only once it is complete.`,
		Example: `  cyphonicctl backup keygen -o backup.key
  cyphonicctl backup --recipient age1… -o site.age`,
		Args:        cobra.NoArgs,
		Annotations: formats(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			recipients, err := flags.read()
			if err != nil {
				return &usageError{err}
			}
			if flags.file == "" {
				return &usageError{errors.New("name the file to write with -o")}
			}
			return c.backup(cmd.Context(), recipients, flags.file)
		},
	}
	cmd.Flags().StringSliceVar(&flags.recipients, "recipient", nil, "public key, age1…, that the backup is encrypted for; may be given several times")
	cmd.Flags().StringSliceVar(&flags.recipientFiles, "recipient-file", nil, "file with one public key per line; may be given several times")
	cmd.Flags().StringVarP(&flags.file, "output", "o", "", "new file to write")
	cmd.AddCommand(c.keygenCommand())
	return cmd
}

// read returns all recipients; those that age cannot encrypt for are an error here, before anything is sent.
func (f *backupFlags) read() ([]string, error) {
	all := append([]string(nil), f.recipients...)
	for _, file := range f.recipientFiles {
		text, err := readBounded(file, maxIdentityFile)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				all = append(all, line)
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("nobody could read the backup: give --recipient or --recipient-file; `cyphonicctl backup keygen` makes a key")
	}
	for _, recipient := range all {
		if strings.HasPrefix(recipient, "AGE-SECRET-KEY-") {
			return nil, errors.New("a recipient is a secret key: give its public key, age1…, and take the secret one out of your history")
		}
		if _, err := encryption.ParseRecipients(strings.NewReader(recipient)); err != nil {
			return nil, fmt.Errorf("recipient %q is no public key of age: %w", recipient, err)
		}
	}
	return all, nil
}

func (c *command) backup(ctx context.Context, recipients []string, file string) error {
	manager, err := c.connect()
	if err != nil {
		return err
	}
	defer manager.Close()
	p := c.newProgress("receiving the backup")
	defer p.done()
	counting := &countingWriter{progress: p}
	err = writeOnce(file, func(out io.Writer) error {
		counting.out = out
		err := manager.Backup(ctx, counting, recipients)
		if err != nil && counting.bytes > 0 {
			return fmt.Errorf("the backup broke off after %d bytes, and nothing was written: %w", counting.bytes, err)
		}
		return err
	})
	p.done()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s: %d bytes for %s\n", file, counting.bytes, count(int64(len(recipients)), "recipient", "recipients"))
	return err
}

type countingWriter struct {
	out      io.Writer
	bytes    int64
	progress *progress
}

func (w *countingWriter) Write(data []byte) (int, error) {
	n, err := w.out.Write(data)
	w.bytes += int64(n)
	w.progress.bytes(w.bytes)
	return n, err
}

func (c *command) keygenCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a key that backups can be encrypted for",
		Long: `Make a key that backups can be encrypted for, in the form of age-keygen. The secret half goes to standard output or a new file with mode 0600; the public half, which
is the recipient, is printed to standard error.`,
		Example:     "  cyphonicctl backup keygen -o backup.key",
		Args:        cobra.NoArgs,
		Annotations: formats(""),
		RunE: func(*cobra.Command, []string) error {
			identity, err := encryption.GenerateX25519Identity()
			if err != nil {
				return err
			}
			text := fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", c.Now().UTC().Format(time.RFC3339), identity.Recipient(), identity)
			if file == "" {
				_, err = io.WriteString(c.Stdout, text)
			} else {
				err = writeOnce(file, func(out io.Writer) error {
					_, err := io.WriteString(out, text)
					return err
				})
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(c.Stderr, "Public key:", identity.Recipient())
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "new file to write")
	return cmd
}

// readBounded reads a small file.
func readBounded(file string, limit int64) ([]byte, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", file, limit)
	}
	return text, err
}
