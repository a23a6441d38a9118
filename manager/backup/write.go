package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/schema"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Report says what a backup holds, or what a restoration did.
type Report struct {
	Keys, Resources int64
	Revision        int64 // of the database that was read, or after it was filled
	Skipped         int64 // records that the database has its own of
}

// ErrRecipients says that nobody would be able to read the backup.
var ErrRecipients = errors.New("unusable recipients")

// ParseRecipients reads the public keys that a backup is encrypted to, as
// age-keygen prints them ("age1…").
func ParseRecipients(texts []string) ([]age.Recipient, error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("%w: none is given: age-keygen makes a pair of keys", ErrRecipients)
	}
	recipients, err := age.ParseRecipients(strings.NewReader(strings.Join(texts, "\n")))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecipients, err)
	}
	return recipients, nil
}

// prefixes are the keys that belong into a backup, in the order of bytes.
func prefixes() []string { return []string{keyspace.AuditPrefix, keyspace.Root} }

// belongs says whether a key does. The mark that etcd's watches write below
// the resources does not.
func belongs(key string) bool {
	if strings.HasPrefix(key, keyspace.ResourcesPrefix) {
		_, _, ok := keyspace.ParseResource(key)
		return ok
	}
	for _, p := range prefixes() {
		if strings.HasPrefix(key, p) && len(key) > len(p) {
			return true
		}
	}
	return false
}

// Write writes a backup of the database as it is at one revision. If it fails
// what has been written is no backup: the end is missing.
func Write(ctx context.Context, s store.Store, w io.Writer, recipients []age.Recipient, now time.Time) (Report, error) {
	version, err := schema.Read(ctx, s)
	if err != nil {
		return Report{}, err
	}
	revision, err := s.Revision(ctx)
	if err != nil {
		return Report{}, err
	}
	sealed, err := age.Encrypt(w, recipients...)
	if err != nil {
		return Report{}, fmt.Errorf("encrypt the backup: %w", err)
	}
	e, err := newEncoder(sealed, Header{Created: now.UTC(), Schema: version, Revision: revision})
	if err != nil {
		return Report{}, err
	}
	report := Report{Revision: revision}
	if err := report.write(ctx, s, e, keyspace.AuditState); err != nil {
		return report, err
	}
	for _, prefix := range prefixes() {
		if err := report.write(ctx, s, e, prefix); err != nil {
			return report, err
		}
	}
	if err := e.finish(); err != nil {
		return report, fmt.Errorf("write the backup: %w", err)
	}
	if err := sealed.Close(); err != nil {
		return report, fmt.Errorf("write the backup: %w", err)
	}
	return report, nil
}

func (r *Report) write(ctx context.Context, s store.Store, e *encoder, prefix string) error {
	o := store.ListOptions{Revision: r.Revision, Limit: readPage}
	for more := true; more; {
		page, err := s.List(ctx, prefix, o)
		if err != nil {
			return fmt.Errorf("read %s: %w", prefix, err)
		}
		for _, entry := range page.Entries {
			o.After = entry.Key
			if !belongs(entry.Key) || (entry.Key == keyspace.AuditState) != (prefix == keyspace.AuditState) {
				continue
			}
			if err := e.add(record{entry.Key, entry.Value}); err != nil {
				return fmt.Errorf("write the backup: %w", err)
			}
			r.count(entry.Key)
		}
		more = page.More
	}
	return nil
}

func (r *Report) count(key string) {
	r.Keys++
	if strings.HasPrefix(key, keyspace.ResourcesPrefix) {
		r.Resources++
	}
}
