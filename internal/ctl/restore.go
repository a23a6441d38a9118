package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	encryption "filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api"
)

type restoreFlags struct {
	identity string
	replace  bool
	yes      bool
}

func (c *command) restoreCommand() *cobra.Command {
	var flags restoreFlags
	cmd := &cobra.Command{
		Use:   "restore --identity FILE BACKUP",
		Short: "Bring a backup back into the managers",
		Long: `Bring a backup back into the managers. It is decrypted here, all of it once before anything is sent, so that a backup that is damaged or was changed is refused as a
whole; then it goes to the manager over TLS.

A store that has something in it is refused, unless --replace: then all there is is deleted first.`,
		Example:     "  cyphonicctl restore --identity backup.key site.age",
		Args:        cobra.ExactArgs(1),
		Annotations: formats("table,json,yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			identities, err := readIdentities(flags.identity)
			if err != nil {
				return &usageError{err}
			}
			return c.restore(cmd.Context(), args[0], identities, flags)
		},
	}
	cmd.Flags().StringVar(&flags.identity, "identity", "", "file with the secret key that the backup was encrypted for, as backup keygen writes it")
	cmd.Flags().BoolVar(&flags.replace, "replace", false, "delete all that there is first")
	cmd.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	return cmd
}

func readIdentities(file string) ([]encryption.Identity, error) {
	if file == "" {
		return nil, errors.New("name the file with the secret key with --identity")
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s holds a secret key but others can read it: run `chmod 600 %s`", file, file)
	}
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	identities, err := encryption.ParseIdentities(io.LimitReader(in, maxIdentityFile))
	if err != nil {
		return nil, fmt.Errorf("%s has no secret key of age: %w", file, err)
	}
	return identities, nil
}

func (c *command) restore(ctx context.Context, file string, identities []encryption.Identity, flags restoreFlags) error {
	in, err := os.Open(file)
	if err != nil {
		return &usageError{err}
	}
	defer in.Close()
	if err := c.checkBackup(in, file, identities); err != nil {
		return err
	}
	manager, err := c.connect()
	if err != nil {
		return err
	}
	defer manager.Close()
	if flags.replace && !flags.yes {
		if err := c.confirm("Delete all that the managers have and put the backup in its place?", true); err != nil {
			return err
		}
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	decrypted, err := encryption.Decrypt(in, identities...)
	if err != nil {
		return err
	}
	p := c.newProgress("sending the backup")
	defer p.done()
	report, err := manager.Restore(ctx, &countingReader{in: decrypted, progress: p}, flags.replace)
	p.done()
	if err != nil {
		return err
	}
	return c.printRestored(report)
}

// checkBackup decrypts a backup once: each part of it is authenticated, and the last one shows that none is missing.
func (c *command) checkBackup(in io.Reader, file string, identities []encryption.Identity) error {
	p := c.newProgress("checking the backup")
	defer p.done()
	decrypted, err := encryption.Decrypt(in, identities...)
	var mismatch *encryption.NoIdentityMatchError
	if errors.As(err, &mismatch) {
		return &invalidError{fmt.Errorf("%s is encrypted for others: none of the secret keys fits", file)}
	}
	if err != nil {
		return &invalidError{fmt.Errorf("%s is no backup: %w", file, err)}
	}
	if _, err := io.Copy(io.Discard, &countingReader{in: decrypted, progress: p}); err != nil {
		return &invalidError{fmt.Errorf("%s is damaged: %w: nothing was sent", file, err)}
	}
	return nil
}

type countingReader struct {
	in       io.Reader
	bytes    int64
	progress *progress
}

func (r *countingReader) Read(data []byte) (int, error) {
	n, err := r.in.Read(data)
	r.bytes += int64(n)
	r.progress.bytes(r.bytes)
	return n, err
}

func (c *command) printRestored(report api.RestoreReport) error {
	switch c.output {
	case "json", "yaml":
		return c.printObject(report)
	}
	_, err := fmt.Fprintf(c.Stdout, "restored %s (%s), left out %s, at revision %d\n",
		count(report.Resources, "resource", "resources"), count(report.Keys, "key", "keys"), count(report.Skipped, "key", "keys"), report.Revision)
	return err
}
