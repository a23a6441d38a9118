package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store"
)

// errAnswered says that a request with the same Idempotency-Key was answered
// while this one was on its way.
var errAnswered = errors.New("the request was answered before")

// record is the answer to a creation, kept for repetitions of the request. It
// is written in the transaction that creates the resource.
type record struct {
	key    string // of the store
	digest string // of the request
}

// storedRecord is a record in the store; the revision of its key is that of the
// resource.
type storedRecord struct {
	Digest string          `json:"digest"`
	Object json.RawMessage `json:"object"` // as stored: without the secret of a token
}

func (r *record) write(object []byte) store.Write {
	value, err := json.Marshal(storedRecord{Digest: r.digest, Object: object})
	if err != nil { // object was encoded a moment ago
		panic(fmt.Sprintf("encode the record of an answer: %v", err))
	}
	return store.PutFor(r.key, value, idempotencyTTL)
}

// inFlight are the keys of requests that this server is answering.
type inFlight struct {
	mu   sync.Mutex
	keys map[string]bool // under mu
}

func (f *inFlight) begin(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keys[key] {
		return false
	}
	f.keys[key] = true
	return true
}

func (f *inFlight) end(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.keys, key)
}

// createOnceFor answers a POST with an Idempotency-Key: the first time by
// creating, later with the first answer.
func (s *Server) createOnceFor(ctx context.Context, plural string, body api.Object, p writeParams) (*answer, error) {
	rec, err := recordOf(ctx, plural, body, p)
	if err != nil {
		return nil, err
	}
	if !s.inFlight.begin(rec.key) {
		out := refuse(http.StatusConflict, typeConflict, "the first request with this Idempotency-Key is still being answered; repeat this one in a second")
		out.retryAfter = 1
		return nil, out
	}
	defer s.inFlight.end(rec.key)
	if a, err := s.replay(ctx, plural, rec); a != nil || err != nil {
		return a, err
	}
	in := s.intentOf(ctx, plural, body.Meta().Name, access.Create, p)
	in.record = rec
	a, failed := s.createFrom(ctx, in, body)
	var problem *problem
	if errors.Is(failed, errAnswered) || (errors.As(failed, &problem) && problem.typ == typeExists) {
		if a, err := s.replay(ctx, plural, rec); a != nil || err != nil {
			return a, err
		}
	}
	return a, failed
}

// recordOf names the record of a request: its key is of whoever sent it, its
// digest of what it asks for.
func recordOf(ctx context.Context, plural string, body api.Object, p writeParams) (*record, error) {
	if n := len(p.IdempotencyKey); n < minIdempotencyKey || n > maxIdempotencyKey || strings.ContainsFunc(p.IdempotencyKey, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, refuse(http.StatusBadRequest, typeInvalid, "Idempotency-Key must be %d to %d visible ASCII characters", minIdempotencyKey, maxIdempotencyKey)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the body: %w", err)
	}
	who := principalOf(ctx)
	return &record{
		key:    keyspace.Idempotency(digest(who.String(), who.UID, p.IdempotencyKey)),
		digest: digest(plural, p.FieldManager, string(text)),
	}, nil
}

func digest(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part) // a hash does not fail
	}
	return hex.EncodeToString(h.Sum(nil))
}

// replay answers with the first answer, or with nothing if there is none.
func (s *Server) replay(ctx context.Context, plural string, rec *record) (*answer, error) {
	entry, err := s.store.Get(ctx, rec.key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var got storedRecord
	if err := json.Unmarshal(entry.Value, &got); err != nil {
		return nil, fmt.Errorf("decode %s: %w", entry.Key, err)
	}
	if got.Digest != rec.digest {
		return nil, refuse(http.StatusUnprocessableEntity, typeIdempotencyMismatch, "this Idempotency-Key was used for another request; choose a new key for a new request")
	}
	o := kindOf(plural).New()
	if err := json.Unmarshal(got.Object, o); err != nil {
		return nil, fmt.Errorf("decode %s: %w", entry.Key, err)
	}
	if err := s.permit(ctx, access.Create, o); err != nil {
		return nil, err
	}
	o.Meta().ResourceVersion = formatRevision(entry.Revision)
	a, err := answerObject(http.StatusCreated, o)
	if err != nil {
		return nil, err
	}
	a.note("Idempotent-Replayed", "true")
	if hasSecret(o) {
		a.note("Warning", `299 - "the secret was in the first answer only and is not kept; if it was lost, delete the token and create another"`)
	}
	return a, nil
}
