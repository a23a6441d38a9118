package adapter

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
)

func deviceKey(t *testing.T) *identity.DeviceKey {
	t.Helper()
	key, err := identity.NewDeviceKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func openListFile(t *testing.T, directory, adapter string, key *identity.DeviceKey) *listFile {
	t.Helper()
	f, err := newListFile(directory, adapter, key)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// listening is a list that remembers what was applied and logged.
type listening struct {
	list
	applied []string
	calls   int
	log     bytes.Buffer
	clock   time.Time
	times   atomic.Int64
}

func newListening(f *listFile) *listening {
	l := &listening{clock: time.Unix(1_800_000_000, 0)}
	l.list = list{
		adapter: "gate", file: f, confirmed: &l.times, items: map[string]api.GeneralNode{}, now: func() time.Time { return l.clock },
		log: slog.New(slog.NewTextHandler(&l.log, nil)),
		apply: func(_ context.Context, items []api.GeneralNode) {
			l.applied, l.calls = nil, l.calls+1
			for _, g := range items {
				l.applied = append(l.applied, g.Metadata.Name)
			}
		},
	}
	return l
}

func TestTheListSurvivesARestart(t *testing.T) {
	directory, key := t.TempDir(), deviceKey(t)
	first := newListening(openListFile(t, directory, "gate", key))
	g := camera("cam1", "02:00:00:00:00:01")
	first.event(context.Background(), api.WatchEventTypeADDED, &g)
	g.Status.Phase = api.DevicePhaseUp
	first.event(context.Background(), api.WatchEventTypeMODIFIED, &g)
	if first.calls != 1 {
		t.Error("a change of the status was taken for one of the specification")
	}
	g.Metadata.Generation++
	first.event(context.Background(), api.WatchEventTypeMODIFIED, &g)
	if first.calls != 2 {
		t.Error("a change of the generation was passed over")
	}
	second := newListening(openListFile(t, directory, "gate", key))
	second.clock = first.clock.Add(time.Hour)
	second.load(context.Background())
	if !slices.Equal(second.applied, []string{"cam1"}) || second.times.Load() != first.clock.Unix() {
		t.Errorf("after a restart: %v of %v", second.applied, second.times.Load())
	}
	second.event(context.Background(), api.WatchEventTypeDELETED, &g)
	if len(second.applied) != 0 {
		t.Errorf("after the deletion: %v", second.applied)
	}
}

func TestAnOldListIsUsedWithAWarning(t *testing.T) {
	directory, key := t.TempDir(), deviceKey(t)
	first := newListening(openListFile(t, directory, "gate", key))
	g := camera("cam1", "02:00:00:00:00:01")
	first.event(context.Background(), api.WatchEventTypeADDED, &g)
	for age, level := range map[time.Duration]string{listFresh: "level=INFO", listFresh + time.Minute: "level=WARN", 90 * 24 * time.Hour: "level=WARN"} {
		l := newListening(openListFile(t, directory, "gate", key))
		l.clock = first.clock.Add(age)
		l.load(context.Background())
		if len(l.applied) != 1 || !strings.Contains(l.log.String(), level) {
			t.Errorf("after %v: applied %v, log %s", age, l.applied, &l.log)
		}
		if warned := ageWarning(l.times.Load(), l.clock) != ""; warned != (age > listFresh) {
			t.Errorf("after %v: warned %v", age, warned)
		}
	}
}

func TestNothingOfTheListIsReadableOnDisk(t *testing.T) {
	directory := t.TempDir()
	f := openListFile(t, directory, "gate", deviceKey(t))
	g := camera("cam1-secret-name", "02:00:00:00:00:01")
	if err := f.write([]api.GeneralNode{g}, time.Now()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(directory)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(directory, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("cam1-secret-name")) || bytes.Contains(b, []byte("02:00")) {
			t.Errorf("%s shows the list", e.Name())
		}
		if info, _ := e.Info(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
}

// TestEveryChangedByteIsNoticed flips each byte of a file, cuts it at each length, and wants nothing of it used.
func TestEveryChangedByteIsNoticed(t *testing.T) {
	f := openListFile(t, t.TempDir(), "gate", deviceKey(t))
	if err := f.write([]api.GeneralNode{camera("cam1", "02:00:00:00:00:01")}, time.Now()); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(f.path(listName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.open(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		changed := slices.Clone(good)
		changed[i] ^= 1 << (i % 8)
		if _, err := f.open(changed); !errors.Is(err, errListForeign) && !errors.Is(err, errListFormat) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := f.open(good[:i]); err == nil {
			t.Errorf("cut at %d and read", i)
		}
	}
	if _, err := f.open(append(slices.Clone(good), 0)); err == nil {
		t.Error("longer and read")
	}
}

func TestFilesThatAreNotThisAdaptersAreRefusedAloud(t *testing.T) {
	key, now := deviceKey(t), time.Now()
	items := []api.GeneralNode{camera("cam1", "02:00:00:00:00:01")}
	plain, err := json.Marshal(cachedList{Items: items})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name    string
		prepare func(directory string) error
		says    string
	}{
		{"of another adapter with the same key", func(d string) error {
			return openListFile(t, d, "other", key).write(items, now)
		}, "another adapter"},
		{"of this adapter with another key", func(d string) error {
			return openListFile(t, d, "gate", deviceKey(t)).write(items, now)
		}, "another device key"},
		{"the plain format in its place", func(d string) error {
			return os.WriteFile(filepath.Join(d, listName), plain, 0o600)
		}, "format"},
		{"a later format", func(d string) error {
			return os.WriteFile(filepath.Join(d, listName), append([]byte(listMagic), append([]byte{listVersion + 1}, make([]byte, 64)...)...), 0o600)
		}, "version is 2"},
		{"empty", func(d string) error { return os.WriteFile(filepath.Join(d, listName), nil, 0o600) }, "format"},
		{"a broken plain file", func(d string) error { return os.WriteFile(filepath.Join(d, plainListName), []byte("{"), 0o600) }, "format"},
	} {
		t.Run(row.name, func(t *testing.T) {
			directory := t.TempDir()
			if err := row.prepare(directory); err != nil {
				t.Fatal(err)
			}
			l := newListening(openListFile(t, directory, "gate", key))
			l.load(context.Background())
			if l.calls != 0 {
				t.Errorf("applied %v", l.applied)
			}
			if text := l.log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, row.says) || !strings.Contains(text, "waits for the manager") {
				t.Errorf("the log says %s", text)
			}
			l.event(context.Background(), api.WatchEventTypeADDED, &items[0]) // the manager's list takes its place
			again := newListening(openListFile(t, directory, "gate", key))
			if again.load(context.Background()); len(again.applied) != 1 {
				t.Errorf("the file stays unusable: %s", again.log.String())
			}
		})
	}
}

func TestThePlainFileIsMigratedOnce(t *testing.T) {
	directory, key := t.TempDir(), deviceKey(t)
	path := filepath.Join(directory, plainListName)
	plain, err := json.Marshal(cachedList{Items: []api.GeneralNode{camera("cam1", "02:00:00:00:00:01")}})
	if err != nil {
		t.Fatal(err)
	}
	write := func() {
		if err := os.WriteFile(path, plain, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	f := openListFile(t, directory, "gate", key)
	if saved, err := f.read(); err != nil || !saved.migrated || len(saved.items) != 1 {
		t.Fatalf("%+v, %v", saved, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the plain file stays: %v", err)
	}
	if saved, err := f.read(); err != nil || saved.migrated || len(saved.items) != 1 {
		t.Errorf("after the migration: %+v, %v", saved, err)
	}
	write()
	if err := os.Remove(f.path(listName)); err != nil {
		t.Fatal(err)
	}
	if saved, err := f.read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a plain file is believed again: %+v, %v", saved, err)
	}
}

func TestAFileThatCannotBeWrittenLeavesTheOldOne(t *testing.T) {
	directory := t.TempDir()
	f := openListFile(t, directory, "gate", deviceKey(t))
	if err := f.write([]api.GeneralNode{camera("cam1", "02:00:00:00:00:01")}, time.Now()); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(filepath.Dir(directory), "moved")
	if err := os.Rename(directory, moved); err != nil {
		t.Fatal(err)
	}
	if err := f.write(nil, time.Now()); err == nil {
		t.Error("written to where nothing is")
	}
	f.directory = moved
	if saved, err := f.read(); err != nil || len(saved.items) != 1 {
		t.Errorf("%+v, %v", saved, err)
	}
}

func TestTheTimeInTheFileFollowsTheManager(t *testing.T) {
	directory, key := t.TempDir(), deviceKey(t)
	l := newListening(openListFile(t, directory, "gate", key))
	g := camera("cam1", "02:00:00:00:00:01")
	l.event(context.Background(), api.WatchEventTypeADDED, &g)
	for range 200 { // bookmarks
		l.clock = l.clock.Add(10 * time.Second)
		l.heard(context.Background(), api.WatchEventTypeBOOKMARK, &api.GeneralNode{Metadata: api.ObjectMeta{ResourceVersion: "7"}})
	}
	saved, err := l.file.read()
	if age := l.clock.Sub(saved.confirmed); err != nil || age > listTouch+10*time.Second {
		t.Errorf("the file says %v ago, %v", age, err)
	}
	if l.calls != 1 || l.times.Load() != l.clock.Unix() {
		t.Errorf("applied %d times, confirmed %v", l.calls, l.times.Load())
	}
}

func FuzzListFile(f *testing.F) {
	key, err := identity.NewDeviceKey(bytes.NewReader(bytes.Repeat([]byte{1}, 64)))
	if err != nil {
		f.Fatal(err)
	}
	file, err := newListFile(f.TempDir(), "gate", key)
	if err != nil {
		f.Fatal(err)
	}
	if err := file.write([]api.GeneralNode{camera("cam1", "02:00:00:00:00:01")}, time.Unix(1, 0)); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(file.path(listName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(fmt.Sprint(listMagic, "\x01")))
	// Workers are processes of their own: the same list is in other bytes there, but it is the only one that was ever sealed with this key.
	f.Fuzz(func(t *testing.T, b []byte) {
		saved, err := file.open(b)
		if err == nil && (len(saved.items) != 1 || saved.items[0].Metadata.Name != "cam1" || !saved.confirmed.Equal(time.Unix(1, 0))) {
			t.Errorf("%x was read as %+v", b, saved)
		}
	})
}
