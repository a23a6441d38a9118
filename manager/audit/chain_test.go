package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyphonic/cyphonic/internal/auditchain"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

func TestRecordsGetTheirPlacesInTheOrderOfTheChanges(t *testing.T) {
	w := newWorld(t, Limits{})
	var revisions []int64
	for i := range 2*maxBatch + 7 {
		// The keys of the outbox are in another order than the changes, as those of managers with different clocks are.
		write := w.Pending(Record{Subject: "admin", Verb: "create", Kind: "Node", Name: fmt.Sprint(i), Outcome: auditchain.Allowed})
		write.Key = keyspace.AuditPending(fmt.Sprintf("%032d", 1000-i))
		revision, err := w.store.Commit(w.ctx, store.Transaction{Writes: []store.Write{write, store.Put("/the/change", []byte("x"))}})
		if err != nil {
			t.Fatal(err)
		}
		revisions = append(revisions, revision)
	}
	moved, err := w.move(w.ctx, w.office)
	if err != nil || moved != len(revisions) {
		t.Fatalf("%d moved: %v", moved, err)
	}
	records := w.all()
	if err := auditchain.Verify(records, auditchain.Genesis()); err != nil {
		t.Error(err)
	}
	for i, r := range records {
		if r.Sequence != int64(i+1) || r.Name != fmt.Sprint(i) || r.Revision != revisions[i] {
			t.Fatalf("record %d is %+v", i, r)
		}
	}
	if n, err := w.store.Count(w.ctx, keyspace.AuditPendingPrefix); err != nil || n != 0 {
		t.Errorf("%d records wait: %v", n, err)
	}
	if moved, err := w.move(w.ctx, w.office); err != nil || moved != 0 {
		t.Errorf("moved again: %d %v", moved, err)
	}
}

// An unreadable record must neither stop the log nor vanish.
func TestARecordThatCannotBeReadIsToldOf(t *testing.T) {
	w := newWorld(t, Limits{})
	for i, text := range []string{"{", `{"outcome":"fine"}`} {
		if _, err := w.store.Create(w.ctx, keyspace.AuditPending(fmt.Sprint(i)), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	w.append(1)
	records := w.all()
	if len(records) != 3 || records[0].Outcome != auditchain.Failed || records[0].Reason == "" || auditchain.Verify(records, auditchain.Genesis()) != nil {
		t.Errorf("%+v", records)
	}
}

func TestTwoLeadersDoNotForkTheChain(t *testing.T) {
	w := newWorld(t, Limits{})
	second := w.another(w.store, Limits{})
	other := w.lead("another office") // both believe that they lead: fencing lets both write
	const each = 60
	var group sync.WaitGroup
	group.Go(func() {
		for i := range each {
			if err := w.Write(w.ctx, Record{Subject: "admin", Outcome: auditchain.Allowed, RequestId: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		}
	})
	ctx, cancel := context.WithCancel(w.ctx)
	for l, office := range map[*Log]store.Leadership{w.Log: w.office, second: other} {
		group.Go(func() {
			for ctx.Err() == nil {
				_, err := l.move(ctx, office)
				if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrExists) {
					t.Error(err)
				}
			}
		})
	}
	for {
		n, err := w.store.Count(w.ctx, keyspace.AuditChainPrefix)
		if err != nil {
			t.Fatal(err)
		}
		if n == each {
			break
		}
	}
	cancel()
	group.Wait()
	records, seen := w.all(), map[string]bool{}
	if err := auditchain.Verify(records, auditchain.Genesis()); err != nil {
		t.Error(err)
	}
	for _, r := range records {
		if seen[r.RequestId] {
			t.Errorf("record %s is in the chain twice", r.RequestId)
		}
		seen[r.RequestId] = true
	}
	if len(seen) != each {
		t.Errorf("%d records of %d", len(seen), each)
	}
}

func TestAFormerLeaderWritesNothing(t *testing.T) {
	w := newWorld(t, Limits{})
	w.append(3)
	if err := w.office.Resign(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.do(Record{Subject: "admin"})
	if _, err := w.move(w.ctx, w.office); err == nil {
		t.Error("a former leader moved a record")
	}
	if n := len(w.all()); n != 3 {
		t.Errorf("%d records", n)
	}
	w.now = w.now.Add(365 * 24 * time.Hour)
	if err := w.trim(w.ctx, w.office); err == nil {
		t.Error("a former leader trimmed")
	}
}

func TestRetentionTrimsFromTheFrontAndKeepsTheBase(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		left   func(n int) bool
	}{
		"by number": {Limits{Records: 120}, func(n int) bool { return n == 120 }},
		"by age":    {Limits{Age: 100 * time.Minute}, func(n int) bool { return n == 101 }},
		"by size":   {Limits{Bytes: 40_000}, func(n int) bool { return n > 50 && n < 200 }},
		"defaults":  {Limits{}, func(n int) bool { return n == 350 }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.limits)
			w.append(350)
			if err := w.trim(w.ctx, w.office); err != nil {
				t.Fatal(err)
			}
			records, base := w.all(), w.base()
			if !c.left(len(records)) {
				t.Errorf("%d records are left", len(records))
			}
			if base.Sequence != int64(350-len(records)) {
				t.Errorf("base %+v with %d records", base, len(records))
			}
			if err := auditchain.Verify(records, base); err != nil {
				t.Error(err)
			}
			h, err := w.state(w.ctx)
			if err != nil {
				t.Fatal(err)
			}
			size := int64(0)
			for _, r := range records {
				text, err := json.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				size += int64(len(text))
			}
			if h.Bytes != size {
				t.Errorf("the log counts %d bytes and has %d", h.Bytes, size)
			}
			w.append(1)
			if err := auditchain.Verify(w.all(), w.base()); err != nil {
				t.Errorf("after one more: %v", err)
			}
		})
	}
}

func TestTheLeaderFindsTampering(t *testing.T) {
	for name, tamper := range map[string]func(w *world){
		"nothing": func(*world) {},
		"changed": func(w *world) {
			r := w.all()[4]
			r.Subject = "user/eve"
			w.overwrite(r)
		},
		"removed": func(w *world) { w.forget(5) },
		"cut off": func(w *world) { w.forget(10) },
		"front":   func(w *world) { w.forget(1) },
		"sealed anew": func(w *world) {
			all := w.all()
			all[6].Subject = "user/eve"
			for i := 6; i < len(all); i++ {
				r, err := auditchain.Seal(auditchain.PointOf(all[i-1]), all[i])
				if err != nil {
					w.t.Fatal(err)
				}
				all[i] = r
				w.overwrite(r)
			}
		},
		"no JSON": func(w *world) { w.put(keyspace.AuditRecord(3), "{") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Limits{})
			w.append(10)
			tamper(w)
			if err := w.verify(w.ctx, &verification{}); err != nil {
				t.Fatal(err)
			}
			want := 1.0
			if name == "nothing" {
				want = 0
			}
			if got := testutil.ToFloat64(w.metrics.faults); got != want {
				t.Errorf("%v faults, want %v", got, want)
			}
		})
	}
}

func (w *world) put(key, value string) {
	w.t.Helper()
	if _, err := w.store.Commit(w.ctx, store.Transaction{Writes: []store.Write{store.Put(key, []byte(value))}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) overwrite(r Record) {
	w.t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(keyspace.AuditRecord(r.Sequence), string(text))
}

func (w *world) forget(sequence int64) {
	w.t.Helper()
	if _, err := w.store.Commit(w.ctx, store.Transaction{Writes: []store.Write{store.Remove(keyspace.AuditRecord(sequence))}}); err != nil {
		w.t.Fatal(err)
	}
}

func TestRunChainUntilTheOfficeEnds(t *testing.T) {
	w := newWorld(t, Limits{})
	done := make(chan error, 1)
	go func() { done <- w.RunChain(w.ctx, w.office) }()
	w.do(Record{Subject: "admin"})
	for deadline := time.Now().Add(5 * time.Second); len(w.all()) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the record did not get its place within five seconds")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := w.office.Resign(w.ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the leader works on after its office has ended")
	}
}
