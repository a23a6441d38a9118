package scale

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/manager/backup"
	"github.com/cyphonic/cyphonic/manager/schema"
)

func TestScale(t *testing.T) {
	w := newWorld(t)
	defer w.publish()
	empty := w.memory()
	w.table.add("memory of an empty manager", mebibytes(empty.anonymous))
	w.load()
	w.resources("after loading", empty)
	_, ready := w.restart()
	w.table.add("start until ready, with the fleet", show(ready))
	w.resources("after that start", empty)
	w.lists()
	w.applies()
	w.watches()
	w.resources("at the end", empty)
}

// load makes a backup of the fleet and restores it.
func (w *world) load() {
	w.t.Helper()
	file, err := os.Create(filepath.Join(w.plane.Directory(), "fleet.backup"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close()
	begin := time.Now()
	if err := backup.Encode(file, backup.Header{Created: w.fleet.begun, Schema: schema.Version}, w.fleet.records()); err != nil {
		w.t.Fatal(err)
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("a stream of %s was made in %v", mebibytes(size), time.Since(begin))
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Hour)
	defer cancel()
	begin = time.Now()
	w.profiled("restore", func() {
		report, err := w.admin.Restore(ctx, file, false)
		if err != nil {
			w.t.Fatal(err)
		}
		took := time.Since(begin)
		w.table.add(fmt.Sprintf("restore of %d keys, a stream of %s", report.Keys, mebibytes(size)), fmt.Sprintf("%s (%.0f keys/s)", show(took), float64(report.Keys)/took.Seconds()))
	})
	w.table.add("database file", mebibytes(w.databaseBytes()))
}

// resources says what the manager holds.
func (w *world) resources(when string, empty memory) {
	w.t.Helper()
	m := w.memory()
	each := int64(w.fleet.generalNodes)
	w.table.add("memory "+when, fmt.Sprintf("%s, and %s of the database file; %d bytes per general node; %s in use after garbage collection, %d bytes per general node",
		mebibytes(m.anonymous), mebibytes(m.file), (m.anonymous-empty.anonymous)/each, mebibytes(m.live), (m.live-empty.live)/each))
}
