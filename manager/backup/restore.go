package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
// the backup has and nothing else. The audit log of the database is never
// replaced; if it has one, that of the backup is left out. A restoration that
// was cut off leaves a mixture and is repeated with Replace.
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
	decoder *decoder
	fence   store.Condition
	audited bool // the database has an audit log
	report  Report
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
	v.fence = term.Condition()
	began, err := v.look(ctx)
	if err != nil {
		return Report{}, err
	}
	if err := v.write(ctx, held, whole); err != nil {
		return v.report, fmt.Errorf("the restoration was cut off, repeat it with replace: %w", err)
	}
	if err := v.finish(ctx, began); err != nil {
		return v.report, fmt.Errorf("the restoration was cut off, repeat it with replace: %w", err)
	}
	return v.report, nil
}

func (v *restoration) lead(ctx context.Context) (store.Leadership, error) {
	type won struct {
		term store.Leadership
		err  error
	}
	leadCtx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(officeWait, cancel)
	term, err := v.Store.Lead(leadCtx, "restore", v.Holder, officeTTL)
	if !timer.Stop() {
		cancel()
		if ctx.Err() == nil {
			return nil, ErrBusy
		}
	}
	_ = won{}
	return term, err
}
