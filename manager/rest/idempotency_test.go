package rest

import (
	"strings"
	"sync"
	"testing"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

func TestARepeatedCreationGetsTheFirstAnswer(t *testing.T) {
	w := newWorld(t)
	w.factory()
	key := with{"Idempotency-Key", "key-of-a-request"}
	body := gnBody("g", "f", "a1", "02:00:00:00:00:01")
	first := w.must(201, "POST", "/api/v1/generalnodes", body, key)
	if first.header.Get("Idempotent-Replayed") != "" {
		t.Fatal("the first answer is a repetition")
	}
	again := w.must(201, "POST", "/api/v1/generalnodes", body, key)
	if again.raw != first.raw || again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("ETag") != first.header.Get("ETag") {
		t.Fatalf("%s after %s", again.raw, first.raw)
	}
	w.must(200, "DELETE", "/api/v1/generalnodes/g", "")
	if gone := w.must(201, "POST", "/api/v1/generalnodes", body, key); gone.raw != first.raw {
		t.Fatal("the answer was forgotten")
	}
	w.must(404, "GET", "/api/v1/generalnodes/g", "")
	for name, other := range map[string]reply{
		"another body":          w.do("POST", "/api/v1/generalnodes", w.admin, gnBody("h", "f", "a1", "02:00:00:00:00:02"), key),
		"another kind":          w.do("POST", "/api/v1/nodes", w.admin, nodeBody("g", "f"), key),
		"another field manager": w.do("POST", "/api/v1/generalnodes?fieldManager=x", w.admin, body, key),
	} {
		if other.code != 422 || other.text("type") != typeIdempotencyMismatch {
			t.Errorf("%s: %d %s", name, other.code, other.raw)
		}
	}
	for _, bad := range []string{"short", strings.Repeat("x", 129), "with a space", "ümlaut-key"} {
		if r := w.do("POST", "/api/v1/generalnodes", w.admin, body, with{"Idempotency-Key", bad}); r.code != 400 {
			t.Errorf("%q: %d %s", bad, r.code, r.raw)
		}
	}
}

func TestARefusedCreationIsNotRemembered(t *testing.T) {
	w := newWorld(t)
	w.factory()
	key := with{"Idempotency-Key", "key-of-a-request"}
	body := gnBody("g", "f", "late", "02:00:00:00:00:01")
	w.must(400, "POST", "/api/v1/generalnodes", body, key)
	w.must(201, "POST", "/api/v1/adapters", resource("Adapter", "late", `{"network":"f"}`))
	if r := w.must(201, "POST", "/api/v1/generalnodes", body, key); r.header.Get("Idempotent-Replayed") != "" {
		t.Fatal(r.raw)
	}
}

func TestASecretIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	w.factory()
	key := with{"Idempotency-Key", "key-of-a-token"}
	for plural, body := range map[string]string{
		"enrollmenttokens": resource("EnrollmentToken", "t", `{"subjectKind":"Adapter","subjectName":"a1"}`),
		"apitokens":        resource("APIToken", "t", `{"description":"ci"}`),
	} {
		key.value += plural
		first := w.must(201, "POST", "/api/v1/"+plural, body, key)
		secret := first.text("status.token")
		if secret == "" {
			t.Fatal(first.raw)
		}
		again := w.must(201, "POST", "/api/v1/"+plural, body, key)
		if again.text("status.token") != "" || again.text("metadata.uid") != first.text("metadata.uid") || !strings.Contains(again.header.Get("Warning"), "not kept") {
			t.Errorf("%s: %s", plural, again.raw)
		}
		if strings.Contains(w.dump("/cyphonic/"), secret) {
			t.Errorf("%s: the store holds the secret", plural)
		}
	}
}

// TestOneOfManyRepetitionsCreates repeats a creation at once on two servers.
func TestOneOfManyRepetitionsCreates(t *testing.T) {
	w := newWorld(t)
	w.factory()
	other := *w
	other.serve(w.store)
	const repetitions = 12
	replies := make([]reply, repetitions)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() {
			at := w
			if i%2 == 1 {
				at = &other
			}
			replies[i] = at.do("POST", "/api/v1/nodes", at.admin, nodeBody("n", "f"), with{"Idempotency-Key", "key-of-a-request"})
		})
	}
	wg.Wait()
	fresh := 0
	uids := map[string]bool{}
	for _, r := range replies {
		switch {
		case r.code == 409:
			if r.header.Get("Retry-After") == "" {
				t.Errorf("no Retry-After: %s", r.raw)
			}
		case r.code != 201:
			t.Errorf("%d %s", r.code, r.raw)
		default:
			uids[r.text("metadata.uid")] = true
			if r.header.Get("Idempotent-Replayed") == "" {
				fresh++
			}
		}
	}
	if fresh != 1 || len(uids) != 1 {
		t.Fatalf("%d requests created, %d resources: %v", fresh, len(uids), uids)
	}
	if strings.Count(w.dump(keyspace.IdempotencyPrefix), "\n") != 1 {
		t.Error("there is not one record")
	}
}
