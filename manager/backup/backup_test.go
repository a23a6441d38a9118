package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/schema"
	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

func open(t testing.TB) store.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := etcd.StartEmbedded(ctx, t.TempDir(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return etcd.NewStore(e.Client())
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func options(s store.Store, replace bool) Options {
	return Options{Options: schema.Options{Store: s, Holder: "test", Rand: rand.Reader, Now: time.Now, Log: quiet()}, Replace: replace}
}

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// put writes keys in as few transactions as possible.
func put(t testing.TB, s store.Store, keys map[string]string) {
	t.Helper()
	b := &batch{commit: func(writes []store.Write) error {
		_, err := s.Commit(context.Background(), store.Transaction{Writes: writes})
		return err
	}}
	for key, value := range keys {
		if err := b.add(store.Put(key, []byte(value))); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
}

// contents are all keys of a store with their values.
func contents(t testing.TB, s store.Store, prefix string) map[string]string {
	t.Helper()
	l, err := s.List(context.Background(), prefix, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range l.Entries {
		out[e.Key] = string(e.Value)
	}
	return out
}

func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for key := range want {
		if got[key] != want[key] {
			t.Errorf("%s: %s is %.60q, want %.60q", what, key, got[key], want[key])
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: %s is there", what, key)
		}
	}
}

const marker = "KEEP-ME-SECRET"

// installation is a store with something of everything.
func installation(t testing.TB, devices int) (store.Store, map[string]string) {
	t.Helper()
	s := open(t)
	if err := schema.Ensure(context.Background(), options(s, false).Options); err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{
		keyspace.Key(keyspace.PurposeTicket, 7): marker, keyspace.AuditRecord(1): "first", keyspace.AuditRecord(2): "second",
		keyspace.AuditState: "head is 2", keyspace.AuditPending("x"): "third",
		keyspace.Resource(keyspace.Networks, "big"): `{"metadata":{"name":"big"},"x":"` + strings.Repeat("a", 700_000) + `"}`,
		keyspace.Resource(keyspace.Networks, "BIG"): `{"metadata":{"name":"BIG"},"x":"` + strings.Repeat("b", 700_000) + `"}`,
	}
	for i := range devices {
		name := fmt.Sprintf("cam%d", i)
		kept[keyspace.Resource(keyspace.GeneralNodes, name)] = fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"i":%d}}`, name, i)
		kept[keyspace.Reference(keyspace.Networks, "home", keyspace.GeneralNodes, name)] = "owner"
	}
	put(t, s, kept)
	for key, value := range contents(t, s, keyspace.Root) {
		kept[key] = value
	}
	put(t, s, map[string]string{
		keyspace.Event(keyspace.Nodes, "a", "1"): "event", keyspace.Idempotency("h"): "answer", keyspace.Manager("m"): "here",
		keyspace.ResourcesPrefix + "~": "", keyspace.Leader("x"): "{}", "/other/key": "of somebody else",
	})
	return s, kept
}

func written(t testing.TB, s store.Store, id *age.X25519Identity) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Write(context.Background(), s, &b, []age.Recipient{id.Recipient()}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decrypted(t testing.TB, sealed []byte, id *age.X25519Identity) []byte {
	t.Helper()
	r, err := age.Decrypt(bytes.NewReader(sealed), id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// records are what is in a stream.
func records(t testing.TB, plain []byte) map[string]string {
	t.Helper()
	d, err := newDecoder(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	defer d.zstd.Close()
	out := map[string]string{}
	for {
		_, err := d.next(func(r record) error {
			out[r.key] = string(r.value)
			return nil
		})
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func restore(t testing.TB, s store.Store, plain []byte, replace bool) Report {
	t.Helper()
	report, err := Restore(context.Background(), bytes.NewReader(plain), options(s, replace))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestWhatIsRestoredIsWhatWasWritten(t *testing.T) {
	s, kept := installation(t, 3000)
	id := identity(t)
	sealed := written(t, s, id)
	if bytes.Contains(sealed, []byte(marker)) || bytes.Contains(sealed, []byte("cam1")) {
		t.Error("the backup can be read by anybody")
	}
	plain := decrypted(t, sealed, id)
	fresh := open(t)
	put(t, fresh, map[string]string{keyspace.Key(keyspace.PurposeTicket, 9): "made at the first start"})
	report := restore(t, fresh, plain, false)
	if report.Keys != int64(len(kept)) || report.Resources != 3005 || report.Skipped != 0 || report.Revision == 0 {
		t.Errorf("report: %+v, want %d keys", report, len(kept))
	}
	got := contents(t, fresh, keyspace.Root)
	for key, value := range contents(t, fresh, keyspace.AuditPrefix) {
		got[key] = value
	}
	same(t, "restored", got, kept)
	if left := contents(t, fresh, keyspace.LogRoot); len(left) != 4 {
		t.Errorf("besides the audit log there are %v", left)
	}
	if version, err := schema.Read(t.Context(), fresh); version != schema.Version || err != nil {
		t.Errorf("version %d, %v", version, err)
	}
	same(t, "a backup of what was restored", records(t, decrypted(t, written(t, fresh, id), id)), records(t, plain))
}

func TestADatabaseWithContentsIsReplacedOnlyOnDemand(t *testing.T) {
	s, kept := installation(t, 10)
	id := identity(t)
	plain := decrypted(t, written(t, s, id), id)
	other := open(t)
	own := map[string]string{
		keyspace.Resource(keyspace.Nodes, "own"): `{"metadata":{"name":"own"}}`, keyspace.AuditRecord(1): "own", keyspace.AuditState: "own",
		keyspace.Resource(keyspace.GeneralNodes, "cam1"): `{"metadata":{"name":"cam1"},"old":true}`, "/other/key": "of somebody else",
	}
	put(t, other, own)
	if _, err := Restore(t.Context(), bytes.NewReader(plain), options(other, false)); !errors.Is(err, ErrNotEmpty) {
		t.Fatalf("without replace: %v", err)
	}
	same(t, "refused", contents(t, other, "/"), own)
	report := restore(t, other, plain, true)
	if report.Skipped != 4 {
		t.Errorf("report: %+v", report)
	}
	want := map[string]string{}
	for key, value := range kept {
		if strings.HasPrefix(key, keyspace.Root) {
			want[key] = value
		}
	}
	same(t, "replaced", contents(t, other, keyspace.Root), want)
	same(t, "audit log", contents(t, other, keyspace.AuditPrefix), map[string]string{keyspace.AuditRecord(1): "own", keyspace.AuditState: "own"})
	if v := contents(t, other, "/other/"); len(v) != 1 {
		t.Error("keys of others are gone")
	}
}

// A new installation has recorded something before the backup is restored: it
// follows the records of the backup.
func TestTheAuditLogGoesOn(t *testing.T) {
	s, _ := installation(t, 1)
	id := identity(t)
	plain := decrypted(t, written(t, s, id), id)
	fresh := open(t)
	put(t, fresh, map[string]string{keyspace.AuditRecord(1): "own 1", keyspace.AuditRecord(2): "own 2", keyspace.AuditRecord(3): "own 3", keyspace.AuditState: "own", keyspace.AuditPending("p"): "own 4"})
	restore(t, fresh, plain, false)
	pending := func(n int) string { return keyspace.AuditPending(fmt.Sprintf("restored-%020d", n)) }
	same(t, "audit log", contents(t, fresh, keyspace.AuditPrefix), map[string]string{
		keyspace.AuditRecord(1): "first", keyspace.AuditRecord(2): "second", keyspace.AuditState: "head is 2", keyspace.AuditPending("x"): "third",
		pending(1): "own 1", pending(2): "own 2", pending(3): "own 3", keyspace.AuditPending("p"): "own 4",
	})
}

func TestADamagedBackupWritesNothing(t *testing.T) {
	s, _ := installation(t, 500)
	id := identity(t)
	plain := decrypted(t, written(t, s, id), id)
	target := open(t)
	if _, err := target.Create(t.Context(), "/other", nil); err != nil {
		t.Fatal(err)
	}
	before, err := target.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	broken := map[string][]byte{
		"empty": nil, "still encrypted": written(t, s, id), "one byte more": append(bytes.Clone(plain), 0), "one byte less": plain[:len(plain)-1],
		"without end": plain[:len(plain)-41],
	}
	for i := 0; i < len(plain); i += 1 + len(plain)/200 {
		flipped := bytes.Clone(plain)
		flipped[i] ^= 1
		broken[fmt.Sprintf("bit flipped at %d of %d", i, len(plain))] = flipped
	}
	for name, b := range broken {
		if _, err := Restore(t.Context(), bytes.NewReader(b), options(target, true)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if after, err := target.Revision(t.Context()); err != nil || after != before {
		t.Errorf("the database went from revision %d to %d, %v", before, after, err)
	}
}

func TestWhatDoesNotBelongIntoABackupIsRefused(t *testing.T) {
	for name, records := range map[string][]record{
		"key of somebody else":    {{"/other/key", nil}},
		"leader":                  {{keyspace.Leader("x"), nil}},
		"not a resource":          {{keyspace.Resource(keyspace.Nodes, "a"), []byte("{")}},
		"another resource":        {{keyspace.Resource(keyspace.Nodes, "a"), []byte(`{"metadata":{"name":"b"}}`)}},
		"mark of a watch":         {{keyspace.ResourcesPrefix + "~", nil}},
		"twice":                   {{keyspace.Root + "a", nil}, {keyspace.Root + "a", nil}},
		"wrong order":             {{keyspace.Root + "b", nil}, {keyspace.Root + "a", nil}},
		"state of audit too late": {{keyspace.AuditRecord(1), nil}, {keyspace.AuditState, nil}},
		"state of audit twice":    {{keyspace.AuditState, nil}, {keyspace.AuditState, nil}},
	} {
		if _, err := Restore(t.Context(), bytes.NewReader(stream(t, Header{Schema: 1}, records)), options(open(t), false)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func stream(t testing.TB, h Header, records []record) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := newEncoder(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := e.add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.finish(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestABackupOfAnOlderLayoutIsMigratedAndOfANewerOneRefused(t *testing.T) {
	s := open(t)
	restore(t, s, stream(t, Header{Schema: 1}, []record{{keyspace.Resource(keyspace.Nodes, "a"), []byte(`{"metadata":{"name":"a"}}`)}}), false)
	if version, err := schema.Read(t.Context(), s); version != schema.Version || err != nil {
		t.Errorf("version %d, %v", version, err)
	}
	if n, err := s.Count(t.Context(), keyspace.ResourcePrefix(keyspace.Roles)); n == 0 || err != nil {
		t.Errorf("%d roles, %v", n, err)
	}
	if _, err := Restore(t.Context(), bytes.NewReader(stream(t, Header{Schema: schema.Version + 1}, nil)), options(s, true)); !errors.Is(err, schema.ErrNewer) {
		t.Errorf("newer: %v", err)
	}
	if _, err := Restore(t.Context(), bytes.NewReader(stream(t, Header{}, nil)), options(s, true)); !errors.Is(err, ErrFormat) {
		t.Errorf("version 0: %v", err)
	}
}

func TestOneRestorationAtATime(t *testing.T) {
	s := open(t)
	if _, err := s.Lead(t.Context(), office, "another", time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), bytes.NewReader(stream(t, Header{Schema: 1}, nil)), options(s, true)); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
}

// failing is a store whose commits fail after some.
type failing struct {
	store.Store
	left chan struct{}
}

func (f failing) Commit(ctx context.Context, t store.Transaction) (int64, error) {
	select {
	case <-f.left:
		return f.Store.Commit(ctx, t)
	default:
		return 0, errors.New("disk on fire")
	}
}

func TestARestorationThatWasCutOffIsRepeated(t *testing.T) {
	s, kept := installation(t, 1000)
	id := identity(t)
	plain := decrypted(t, written(t, s, id), id)
	target := open(t)
	put(t, target, map[string]string{keyspace.AuditRecord(1): "own", keyspace.AuditState: "own"})
	for _, good := range []int{1, 2, 3, 4, 8} {
		f := failing{target, make(chan struct{}, good)}
		for range good {
			f.left <- struct{}{}
		}
		if _, err := Restore(t.Context(), bytes.NewReader(plain), options(f, good > 1)); err == nil {
			t.Fatal("it was not cut off")
		}
		if n, _ := target.Count(t.Context(), keyspace.Restoring); n != 1 {
			t.Fatal("nothing says that the database is half restored")
		}
	}
	restore(t, target, plain, true)
	want := map[string]string{keyspace.AuditPending(fmt.Sprintf("restored-%020d", 1)): "own"}
	for key, value := range kept {
		want[key] = value
	}
	got := contents(t, target, keyspace.Root)
	for key, value := range contents(t, target, keyspace.AuditPrefix) {
		got[key] = value
	}
	same(t, "restored", got, want)
	if n, _ := target.Count(t.Context(), keyspace.Restoring); n != 0 {
		t.Error("the mark is still there")
	}
}

func TestRecipientsAreChecked(t *testing.T) {
	if _, err := ParseRecipients([]string{identity(t).Recipient().String()}); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][]string{nil, {""}, {"age1x"}, {identity(t).String()}} {
		if _, err := ParseRecipients(wrong); !errors.Is(err, ErrRecipients) {
			t.Errorf("%d recipients: %v", len(wrong), err)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(stream(f, Header{Schema: 1}, []record{{keyspace.Root + "a", []byte("x")}}))
	f.Add([]byte(magic))
	f.Fuzz(func(_ *testing.T, b []byte) {
		d, err := newDecoder(bytes.NewReader(b))
		if err != nil {
			return
		}
		defer d.zstd.Close()
		v := &restoration{decoder: d}
		_, _, _ = v.hold()
	})
}
