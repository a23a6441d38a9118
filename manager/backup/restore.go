package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/schema"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Errors of Restore that callers branch on.
var (
	// ErrNotEmpty says that the database has a desired state already.
	ErrNotEmpty = errors.New("the database is not empty")
	// ErrBusy says that somebody else is restoring.
	ErrBusy = errors.New("another backup is being restored")
)

// Restore fills a database from a decrypted backup. All of the backup is
// verified before the first key is written, unless it is so large that it does
// not fit into memory even compressed; then each chunk is before it is written.
//
// A database that has more in it than a manager makes by itself at its first
// start is refused, unless Options.Replace is set: then it ends up with what
// the backup has and nothing else, but for its audit log: nothing is ever lost
// from one. An empty database takes over that of the backup, and what it has
// recorded itself follows; with Replace that of the backup is left out. A
// restoration that was cut off leaves a mixture and is repeated with Replace.
func Restore(ctx context.Context, r io.Reader, o Options) (Report, error) {
	d, err := newDecoder(r)
	if err != nil {
		return Report{}, err
	}
	defer d.zstd.Close()
	if err := schema.Supported(d.header.Schema); err != nil {
		return Report{}, err
	}
	if d.header.Schema < 1 {
		return Report{}, fmt.Errorf("%w: its layout has the version %d", ErrFormat, d.header.Schema)
	}
	v := &restoration{Options: o, decoder: d}
	held, whole, err := v.hold()
	if err != nil {
		return Report{}, err
	}
	return v.fill(ctx, held, whole)
}

// Options is what Restore needs besides the backup. The embedded options are
// for the migration of a backup that an older manager wrote.
type Options struct {
	schema.Options
	Replace bool
}

// restoration is one run of Restore.
type restoration struct {
	Options
	decoder    *decoder
	conditions []store.Condition // that this is the one who restores
	mark       mark
	few        []store.Entry // without Replace: all that was there before
	report     Report
}

// hold reads and verifies chunks into memory, all of them if there is room.
func (v *restoration) hold() (held []chunk, whole bool, err error) {
	for size := 0; size < heldBytes; {
		c, err := v.decoder.next(verify)
		if errors.Is(err, io.EOF) {
			return held, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		held = append(held, c)
		size += len(c.packed)
	}
	return held, false, nil
}

// verify checks what can be said about a record by itself.
func verify(r record) error {
	if !belongs(r.key) {
		return fmt.Errorf("%w: key %q does not belong into one", ErrFormat, r.key)
	}
	_, name, ok := keyspace.ParseResource(r.key)
	if !ok {
		return nil
	}
	var head struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(r.value, &head); err != nil || head.Metadata.Name != name {
		return fmt.Errorf("%w: %s is not the resource that it should be", ErrFormat, r.key)
	}
	return nil
}

// fill writes everything as the one who restores.
func (v *restoration) fill(ctx context.Context, held []chunk, whole bool) (Report, error) {
	termCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	term, err := v.lead(termCtx)
	if err != nil {
		return Report{}, err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), officeTTL)
		defer cancel()
		if err := term.Resign(end); err != nil {
			v.Log.Warn("the office of the restoration ends by itself", "err", err)
		}
	}()
	v.conditions = []store.Condition{term.Condition()}
	began, err := v.look(ctx)
	if err != nil {
		return Report{}, err
	}
	if !v.Replace {
		l, err := v.Store.List(ctx, keyspace.Root, store.ListOptions{KeysOnly: true})
		if err != nil {
			return Report{}, err
		}
		v.few = l.Entries
	}
	if err := v.write(ctx, held, whole); err != nil {
		return v.report, fmt.Errorf("the restoration was cut off, repeat it with replace: %w", err)
	}
	if err := v.finish(ctx, began); err != nil {
		return v.report, fmt.Errorf("the restoration was cut off, repeat it with replace: %w", err)
	}
	return v.report, nil
}

// lead waits a moment for the office.
func (v *restoration) lead(ctx context.Context) (store.Leadership, error) {
	leadCtx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(officeWait, cancel)
	term, err := v.Store.Lead(leadCtx, office, v.Holder, officeTTL)
	if timer.Stop() || ctx.Err() != nil {
		return term, err
	}
	cancel()
	return nil, ErrBusy
}

// mark says, while a restoration runs or after one was cut off, what it does
// about the audit log.
type mark struct {
	Audit   bool `json:"audit"`   // that of the backup is taken over
	Yielded bool `json:"yielded"` // the records of the database wait to follow it
}

// look checks that the database may be filled, and marks it. It returns the
// revision from before.
func (v *restoration) look(ctx context.Context) (int64, error) {
	e, err := v.Store.Get(ctx, keyspace.Restoring)
	switch {
	case errors.Is(err, store.ErrNotFound):
		v.mark.Audit = !v.Replace
	case err != nil:
		return 0, err
	case json.Unmarshal(e.Value, &v.mark) != nil:
		return 0, fmt.Errorf("%s: %w", keyspace.Restoring, keyspace.ErrRecord)
	}
	if !v.Replace {
		if err := v.empty(ctx); err != nil {
			return 0, err
		}
	}
	return v.note(ctx)
}

func (v *restoration) note(ctx context.Context) (int64, error) {
	value, err := json.Marshal(v.mark)
	if err != nil {
		return 0, fmt.Errorf("encode the mark: %w", err)
	}
	return v.commit(ctx, []store.Write{store.Put(keyspace.Restoring, value)})
}

// empty returns an error if the database has more than a manager makes by
// itself: keys for the services, and the roles that everybody begins with.
func (v *restoration) empty(ctx context.Context) error {
	all, err := v.Store.Count(ctx, keyspace.Root)
	if err != nil {
		return err
	}
	for _, prefix := range []string{keyspace.KeysPrefix, keyspace.ResourcePrefix(keyspace.Roles)} {
		n, err := v.Store.Count(ctx, prefix)
		if err != nil {
			return err
		}
		all -= n
	}
	if all > 0 {
		return fmt.Errorf("%w: it has %d keys; they are deleted first with replace=true (cyphonicctl restore --replace)", ErrNotEmpty, all)
	}
	return nil
}

// continueAudit makes the audit log go on from the end of that of the backup.
// The records of the database's own young log are put back among those that
// wait, so that they follow.
func (v *restoration) continueAudit(ctx context.Context, state record) error {
	if _, err := v.commit(ctx, []store.Write{store.Put(state.key, bytes.Clone(state.value))}); err != nil || v.mark.Yielded {
		return err
	}
	l, err := v.Store.List(ctx, keyspace.AuditChainPrefix, store.ListOptions{})
	if err != nil {
		return err
	}
	for part := range slices.Chunk(l.Entries, yieldPart) {
		var writes []store.Write
		for _, e := range part {
			id := "restored-" + strings.TrimPrefix(e.Key, keyspace.AuditChainPrefix)
			writes = append(writes, store.Put(keyspace.AuditPending(id), e.Value), store.Remove(e.Key))
		}
		if _, err := v.commit(ctx, writes); err != nil {
			return err
		}
	}
	v.mark.Yielded = true
	_, err = v.note(ctx)
	return err
}

// write writes the records of the chunks that are held, and then those of the
// others, many transactions at a time: their order does not matter.
func (v *restoration) write(ctx context.Context, held []chunk, whole bool) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	batch := &batch{commit: func(writes []store.Write) error {
		group.Go(func() error {
			_, err := v.commit(groupCtx, writes)
			return err
		})
		return groupCtx.Err()
	}}
	err := v.feed(ctx, held, whole, batch)
	if err == nil {
		err = batch.flush()
	}
	if failed := group.Wait(); failed != nil { // it is the cause
		return failed
	}
	return err
}

func (v *restoration) feed(ctx context.Context, held []chunk, whole bool, b *batch) error {
	add := func(r record) error {
		if strings.HasPrefix(r.key, keyspace.AuditPrefix) && !v.mark.Audit {
			v.report.Skipped++
			return nil
		}
		v.report.count(r.key)
		if r.key == keyspace.AuditState {
			return v.continueAudit(ctx, r)
		}
		return b.add(store.Put(r.key, bytes.Clone(r.value)))
	}
	for i := range held {
		raw, err := v.decoder.unpack(held[i])
		if err != nil {
			return err
		}
		held[i] = chunk{}
		if err := split(raw, add); err != nil {
			return err
		}
	}
	for !whole {
		_, err := v.decoder.next(func(r record) error {
			if err := verify(r); err != nil {
				return err
			}
			return add(r)
		})
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// batch collects writes into transactions.
type batch struct {
	commit func([]store.Write) error
	writes []store.Write
	bytes  int
}

func (b *batch) add(w store.Write) error {
	size := len(w.Key) + len(w.Value)
	if len(b.writes) >= store.MaxWrites || b.bytes+size > transactionBytes {
		if err := b.flush(); err != nil {
			return err
		}
	}
	b.writes, b.bytes = append(b.writes, w), b.bytes+size
	return nil
}

func (b *batch) flush() error {
	if len(b.writes) == 0 {
		return nil
	}
	writes := b.writes
	b.writes, b.bytes = nil, 0
	return b.commit(writes)
}

// commit does a transaction as the one who restores. One that may or may not
// have happened is repeated: it does the same again.
func (v *restoration) commit(ctx context.Context, writes []store.Write) (int64, error) {
	t := store.Transaction{Conditions: v.conditions, Writes: writes}
	for attempt, wait := 1, retryInterval; ; attempt, wait = attempt+1, 2*wait {
		revision, err := v.Store.Commit(ctx, t)
		if !errors.Is(err, store.ErrUnavailable) || attempt == attempts {
			return revision, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// finish removes what the backup does not have, notes the version of the
// layout and migrates it.
func (v *restoration) finish(ctx context.Context, began int64) error {
	if err := v.prune(ctx, began); err != nil {
		return err
	}
	version := keyspace.Encode(keyspace.SchemaRecord{Version: v.decoder.header.Schema})
	if _, err := v.commit(ctx, []store.Write{store.Put(keyspace.Schema, version)}); err != nil {
		return err
	}
	if err := schema.Ensure(ctx, v.Options.Options); err != nil {
		return err
	}
	revision, err := v.commit(ctx, []store.Write{store.Remove(keyspace.Restoring)})
	v.report.Revision = revision
	return err
}

// pruneFew is prune where it is known how little there was.
func (v *restoration) pruneFew(ctx context.Context, began int64) error {
	for _, e := range v.few {
		e, err := v.Store.Get(ctx, e.Key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue
		case err != nil:
			return err
		case e.Revision > began:
			continue
		}
		if _, err := v.commit(ctx, []store.Write{store.Remove(e.Key)}); err != nil {
			return err
		}
	}
	return nil
}

// prune removes the keys of the desired state that were last written before
// the restoration began.
func (v *restoration) prune(ctx context.Context, began int64) error {
	if !v.Replace {
		return v.pruneFew(ctx, began)
	}
	o := store.ListOptions{KeysOnly: true, Limit: readPage}
	for more := true; more; {
		page, err := v.Store.List(ctx, keyspace.Root, o)
		if err != nil {
			return err
		}
		b := &batch{commit: func(writes []store.Write) error {
			_, err := v.commit(ctx, writes)
			return err
		}}
		for _, e := range page.Entries {
			o.After = e.Key
			if e.Revision > began {
				continue
			}
			if err := b.add(store.Remove(e.Key)); err != nil {
				return err
			}
		}
		if err := b.flush(); err != nil {
			return err
		}
		more = page.More
	}
	return nil
}
