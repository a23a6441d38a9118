package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// Why an enrolment was refused.
var (
	ErrTokenUnknown = errors.New("the enrolment token does not exist")
	ErrTokenUsed    = errors.New("the enrolment token has been used by another device")
	ErrTokenExpired = errors.New("the enrolment token has expired")
	ErrTokenSubject = errors.New("the enrolment token is for another device")
	ErrSubject      = errors.New("the device does not exist any more")
	// ErrContention says that others kept changing the same records; nothing
	// was written and the enrolment may be tried again.
	ErrContention = errors.New("the records are being changed by others")
)

// Enrolment asks to make a key the key of a device.
type Enrolment struct {
	Subject *Subject
	Public  identity.DevicePublic
	// TokenHash is the hash of the enrolment token that permits it. It is
	// empty when the device proved itself otherwise (password).
	TokenHash string
}

// errRetry says that the transaction did not apply and must be planned anew.
var errRetry = errors.New("changed meanwhile")

// Enrol consumes the token and records the key in one transaction. When the
// same device repeats it with the same key, because the answer was lost, it
// succeeds again without writing. It returns when the snapshot of this replica
// shows the key.
func (r *Replica) Enrol(ctx context.Context, e Enrolment) error {
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	for range enrolAttempts {
		revision, err := r.enrolOnce(ctx, e)
		if errors.Is(err, errRetry) {
			continue
		}
		if err != nil {
			return err
		}
		return r.wait(ctx, revision)
	}
	return ErrContention
}

// plan collects the conditions and writes of the one transaction.
type plan struct {
	conditions []clientv3.Cmp
	writes     []clientv3.Op
}

func (p *plan) put(key string, value []byte) {
	p.writes = append(p.writes, clientv3.OpPut(key, string(value)))
}

// unchanged demands that a key still has the revision that was read (0: that
// it does still not exist).
func (p *plan) unchanged(key string, modRevision int64) {
	p.conditions = append(p.conditions, clientv3.Compare(clientv3.ModRevision(key), "=", modRevision))
}

func (r *Replica) enrolOnce(ctx context.Context, e Enrolment) (revision int64, err error) {
	var p plan
	now := r.now().UTC()
	record := keyspace.EnrolledRecord{
		UID: e.Subject.UID, Static: e.Public.Static[:], Signing: e.Public.Signing[:],
		NodeID: e.Public.NodeID().String(), EnrolledAt: now,
	}
	if e.TokenHash != "" {
		uid, done, err := r.planToken(ctx, &p, e, now)
		if err != nil || done != 0 {
			return done, err
		}
		record.TokenUID = uid
	}
	if err := r.planSubject(ctx, &p, e); err != nil {
		return 0, err
	}
	p.put(keyspace.Enrolled(e.Subject.Plural, e.Subject.Name), keyspace.Encode(record))
	txn, err := r.client.Txn(ctx).If(p.conditions...).Then(p.writes...).Commit()
	if err != nil {
		return 0, fmt.Errorf("record the enrolment: %w", err)
	}
	if !txn.Succeeded {
		return 0, errRetry
	}
	return txn.Header.Revision, nil
}

// planToken checks the token and adds its consumption. done is not 0 when the
// token was already consumed by this very key.
func (r *Replica) planToken(ctx context.Context, p *plan, e Enrolment, now time.Time) (uid string, done int64, err error) {
	index, err := r.client.Get(ctx, keyspace.Token(e.TokenHash))
	if err != nil {
		return "", 0, fmt.Errorf("read the enrolment token: %w", err)
	}
	if len(index.Kvs) == 0 {
		return "", 0, ErrTokenUnknown
	}
	record, err := keyspace.Decode[keyspace.TokenRecord](index.Kvs[0].Value)
	if err != nil {
		return "", 0, err
	}
	done, err = r.checkConsumed(ctx, record.UID, e)
	if err != nil || done != 0 {
		return "", done, err
	}
	key := keyspace.Resource(keyspace.EnrollmentTokens, record.Name)
	got, err := r.client.Get(ctx, key)
	if err != nil {
		return "", 0, fmt.Errorf("read the enrolment token: %w", err)
	}
	if len(got.Kvs) == 0 {
		return "", 0, ErrTokenUnknown
	}
	var token api.EnrollmentToken
	if err := json.Unmarshal(got.Kvs[0].Value, &token); err != nil {
		return "", 0, fmt.Errorf("%w: %s", keyspace.ErrRecord, key)
	}
	if token.Metadata.Uid != record.UID {
		return "", 0, ErrTokenUnknown
	}
	if string(token.Spec.SubjectKind) != e.Subject.Kind() || token.Spec.SubjectName != e.Subject.Name {
		return "", 0, ErrTokenSubject
	}
	if !token.Status.ExpirationTimestamp.IsZero() && !now.Before(token.Status.ExpirationTimestamp) {
		return "", 0, ErrTokenExpired
	}
	used, err := patchStatus(got.Kvs[0].Value, map[string]any{"phase": api.TokenPhaseUsed, "usedTimestamp": now})
	if err != nil {
		return "", 0, err
	}
	p.unchanged(keyspace.Token(e.TokenHash), index.Kvs[0].ModRevision)
	p.unchanged(keyspace.Consumed(record.UID), 0)
	p.unchanged(key, got.Kvs[0].ModRevision)
	p.put(key, used)
	p.put(keyspace.Consumed(record.UID), keyspace.Encode(keyspace.ConsumedRecord{
		SubjectKind: e.Subject.Plural, SubjectName: e.Subject.Name,
		NodeID: e.Public.NodeID().String(), ConsumedAt: now,
	}))
	return record.UID, 0, nil
}

// checkConsumed returns the revision at which this key consumed the token, 0
// if nobody did, and ErrTokenUsed if another key did.
func (r *Replica) checkConsumed(ctx context.Context, tokenUID string, e Enrolment) (int64, error) {
	got, err := r.client.Get(ctx, keyspace.Consumed(tokenUID))
	if err != nil {
		return 0, fmt.Errorf("read the use of the enrolment token: %w", err)
	}
	if len(got.Kvs) == 0 {
		return 0, nil
	}
	used, err := keyspace.Decode[keyspace.ConsumedRecord](got.Kvs[0].Value)
	if err != nil {
		return 0, err
	}
	if used.NodeID != e.Public.NodeID().String() || used.SubjectKind != e.Subject.Plural || used.SubjectName != e.Subject.Name {
		return 0, ErrTokenUsed
	}
	// The same key again. It must still be the enrolled one: a later enrolment
	// of another device is not undone by an old token.
	now, err := r.client.Get(ctx, keyspace.Enrolled(e.Subject.Plural, e.Subject.Name))
	if err != nil {
		return 0, fmt.Errorf("read the enrolled key: %w", err)
	}
	if len(now.Kvs) == 0 {
		return 0, ErrTokenUsed
	}
	record, err := keyspace.Decode[keyspace.EnrolledRecord](now.Kvs[0].Value)
	if err != nil {
		return 0, err
	}
	if record.UID != e.Subject.UID || devicePublic(record) != e.Public {
		return 0, ErrTokenUsed
	}
	return now.Kvs[0].ModRevision, nil
}

// planSubject demands that the device is still the one that was looked up and
// shows its new key in its status.
func (r *Replica) planSubject(ctx context.Context, p *plan, e Enrolment) error {
	key := keyspace.Resource(e.Subject.Plural, e.Subject.Name)
	got, err := r.client.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("read the device: %w", err)
	}
	if len(got.Kvs) == 0 {
		return ErrSubject
	}
	var head struct {
		Metadata api.ObjectMeta `json:"metadata"`
	}
	if err := json.Unmarshal(got.Kvs[0].Value, &head); err != nil {
		return fmt.Errorf("%w: %s", keyspace.ErrRecord, key)
	}
	if head.Metadata.Uid != e.Subject.UID {
		return ErrSubject
	}
	value, err := patchStatus(got.Kvs[0].Value, map[string]any{"nodeID": e.Public.NodeID().String()})
	if err != nil {
		return err
	}
	p.unchanged(key, got.Kvs[0].ModRevision)
	p.put(key, value)
	return nil
}

// patchStatus sets fields of the status of a resource and leaves everything
// else, known or unknown, as it is.
func patchStatus(resource []byte, fields map[string]any) ([]byte, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(resource, &object); err != nil {
		return nil, fmt.Errorf("%w: resource", keyspace.ErrRecord)
	}
	status := make(map[string]json.RawMessage)
	if raw, ok := object["status"]; ok {
		if err := json.Unmarshal(raw, &status); err != nil {
			return nil, fmt.Errorf("%w: status", keyspace.ErrRecord)
		}
	}
	for name, value := range fields {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		status[name] = raw
	}
	raw, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	object["status"] = raw
	return json.Marshal(object)
}
