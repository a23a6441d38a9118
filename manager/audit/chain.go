package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/auditchain"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// state is where the chain begins and ends, stored at keyspace.AuditState. Whoever changes the chain changes it in the same transaction,
// on condition that nobody else did: two leaders cannot fork the chain, also if fencing failed.
type state struct {
	Base  auditchain.Point `json:"base"`
	Head  auditchain.Point `json:"head"`
	Bytes int64            `json:"bytes"` // of the records in between
}

// held is a state with the revision it was read at; 0: there is none yet.
type held struct {
	state
	revision int64
}

func (h held) condition() store.Condition {
	if h.revision == 0 {
		return store.Absent(keyspace.AuditState)
	}
	return store.AtRevision(keyspace.AuditState, h.revision)
}

func (l *Log) state(ctx context.Context) (held, error) {
	e, err := l.store.Get(ctx, keyspace.AuditState)
	if errors.Is(err, store.ErrNotFound) {
		return held{state: state{Base: auditchain.Genesis(), Head: auditchain.Genesis()}}, nil
	}
	if err != nil {
		return held{}, fmt.Errorf("read the state of the audit log: %w", err)
	}
	h := held{revision: e.Revision}
	if err := json.Unmarshal(e.Value, &h.state); err != nil {
		return held{}, fmt.Errorf("decode %s: %w", e.Key, err)
	}
	return h, nil
}

// change writes to the chain as the leader. The error wraps store.ErrConflict, ErrExists or ErrNotFound if somebody else did.
func (l *Log) change(ctx context.Context, office store.Leadership, h held, writes []store.Write) error {
	value, err := json.Marshal(h.state)
	if err != nil {
		return fmt.Errorf("encode the state of the audit log: %w", err)
	}
	_, err = l.store.Commit(ctx, store.Transaction{
		Conditions: []store.Condition{office.Condition(), h.condition()},
		Writes:     append(writes, store.Put(keyspace.AuditState, value)),
	})
	return err
}

// RunChain moves records into the chain, verifies and trims it, until ctx or the office ends. Exactly one manager should do so; if
// two believe that they are the leader, only one can write.
func (l *Log) RunChain(ctx context.Context, office store.Leadership) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rounds := verification{}
	var trimmed, verified time.Time
	for {
		now := l.now()
		_, err := l.move(ctx, office)
		if err == nil && now.Sub(trimmed).Abs() >= trimInterval {
			trimmed = now
			err = l.trim(ctx, office)
		}
		if err == nil && now.Sub(verified).Abs() >= verifyInterval {
			verified = now
			err = l.verify(ctx, &rounds)
		}
		wait := moveInterval
		if err != nil && ctx.Err() == nil {
			l.log.Warn("the audit log cannot go on now and will try again", "err", err)
			wait = retryInterval
		}
		select {
		case <-ctx.Done():
			return nil
		case <-office.Lost():
			return nil
		case <-time.After(wait):
		}
	}
}

// move gives all records that wait their places, in the order of the revisions at which they were written.
func (l *Log) move(ctx context.Context, office store.Leadership) (moved int, err error) {
	waiting, err := l.store.List(ctx, keyspace.AuditPendingPrefix, store.ListOptions{KeysOnly: true, Limit: maxPending})
	if err != nil {
		return 0, fmt.Errorf("look for audit records: %w", err)
	}
	l.metrics.pending.Set(float64(len(waiting.Entries)))
	if len(waiting.Entries) == 0 {
		return 0, nil
	}
	slices.SortFunc(waiting.Entries, func(a, b store.Entry) int {
		return cmp.Or(cmp.Compare(a.CreateRevision, b.CreateRevision), cmp.Compare(a.Key, b.Key))
	})
	h, err := l.state(ctx)
	if err != nil {
		return 0, err
	}
	for moved < len(waiting.Entries) {
		n, next, err := l.moveSome(ctx, office, h, waiting.Entries[moved:])
		if err != nil {
			return moved, fmt.Errorf("append to the audit log: %w", err)
		}
		h, moved = next, moved+n
	}
	l.metrics.pending.Set(0)
	return moved, nil
}

// moveSome moves the first of the waiting records, as many as one transaction holds, and returns how many and the state afterwards.
func (l *Log) moveSome(ctx context.Context, office store.Leadership, h held, waiting []store.Entry) (int, held, error) {
	var writes []store.Write
	outcomes := map[string]int{}
	n, size := 0, 0
	for n < len(waiting) && n < maxBatch && size < maxBatchBytes {
		e, err := l.store.Get(ctx, waiting[n].Key)
		if err != nil { // also if it is gone: another leader has moved it, and this one must read the state anew
			return 0, h, err
		}
		r, err := auditchain.Seal(h.Head, decodePending(e))
		if err != nil {
			return 0, h, err
		}
		value, err := json.Marshal(r)
		if err != nil {
			return 0, h, fmt.Errorf("encode audit record %d: %w", r.Sequence, err)
		}
		writes = append(writes, store.Put(keyspace.AuditRecord(r.Sequence), value), store.Remove(e.Key))
		outcomes[r.Outcome]++
		h.Head = auditchain.PointOf(r)
		h.Bytes += int64(len(value))
		size += len(value)
		n++
	}
	if err := l.change(ctx, office, h, writes); err != nil {
		return 0, h, err
	}
	for outcome, count := range outcomes {
		l.metrics.records.WithLabelValues(outcome).Add(float64(count))
	}
	next, err := l.state(ctx)
	return n, next, err
}

// decodePending reads a record that waits. One that cannot be read gets a place nevertheless: that it cannot is worth knowing.
func decodePending(e store.Entry) Record {
	var r Record
	if err := json.Unmarshal(e.Value, &r); err != nil || !outcome(r.Outcome) {
		r = Record{Subject: "system/audit", Verb: "create", Kind: "Audit", Outcome: auditchain.Failed, Reason: "a record could not be read: " + e.Key}
	}
	r.Revision = e.CreateRevision
	return r
}

func outcome(s string) bool {
	return s == auditchain.Allowed || s == auditchain.Denied || s == auditchain.Failed
}

// trim removes records from the front while there are too many, too large or too old ones, and moves the base behind them.
func (l *Log) trim(ctx context.Context, office store.Leadership) error {
	for {
		h, err := l.state(ctx)
		if err != nil {
			return err
		}
		page, err := l.store.List(ctx, keyspace.AuditChainPrefix, store.ListOptions{After: keyspace.AuditRecord(h.Base.Sequence), Limit: trimBatch})
		if err != nil {
			return fmt.Errorf("read the front of the audit log: %w", err)
		}
		oldest := l.now().Add(-l.limits.Age)
		var writes []store.Write
		for _, e := range page.Entries {
			var r Record
			if err := json.Unmarshal(e.Value, &r); err != nil {
				return fmt.Errorf("decode %s: %w", e.Key, err)
			}
			if h.Head.Sequence-h.Base.Sequence <= l.limits.Records && h.Bytes <= l.limits.Bytes && !r.Time.Before(oldest) {
				break
			}
			writes = append(writes, store.Remove(e.Key))
			h.Base = auditchain.PointOf(r)
			h.Bytes -= int64(len(e.Value))
		}
		if len(writes) == 0 {
			return nil
		}
		if err := l.change(ctx, office, h, writes); err != nil {
			return fmt.Errorf("trim the audit log: %w", err)
		}
	}
}

// verification goes round the chain, a part at a time.
type verification struct {
	verifier *auditchain.Verifier
	next     int64 // sequence after which it goes on
}

// verify checks the next part of the chain. A fault is logged and counted once per round.
func (l *Log) verify(ctx context.Context, v *verification) error {
	h, err := l.state(ctx)
	if err != nil {
		return err
	}
	if v.verifier == nil || v.next < h.Base.Sequence { // a new round, or the front was trimmed meanwhile
		*v = verification{verifier: auditchain.NewVerifier(h.Base, h.Head), next: h.Base.Sequence}
	}
	page, err := l.store.List(ctx, keyspace.AuditChainPrefix, store.ListOptions{After: keyspace.AuditRecord(v.next), Limit: verifyBatch})
	if err != nil {
		return fmt.Errorf("read the audit log: %w", err)
	}
	for _, e := range page.Entries {
		var r Record
		if err := json.Unmarshal(e.Value, &r); err != nil {
			l.fault(v, fmt.Errorf("decode %s: %w", e.Key, err))
			return nil
		}
		if err := v.verifier.Add(r); err != nil {
			l.fault(v, err)
			return nil
		}
		v.next = r.Sequence
	}
	if page.More {
		return nil
	}
	if _, err := v.verifier.End(); err != nil {
		l.fault(v, err)
	}
	v.verifier = nil
	return nil
}

func (l *Log) fault(v *verification, err error) {
	l.metrics.faults.Inc()
	l.log.Error("the audit log was tampered with; compare it with an export or a backup", "err", err)
	v.verifier = nil
}
