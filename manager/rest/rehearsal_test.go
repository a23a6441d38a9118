package rest

import (
	"strings"
	"testing"
)

func TestDryRunDoesEverythingButWrite(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("g", "f", "a1", "02:00:00:00:00:01"))
	merge, apply := with{"Content-Type", mergePatchType}, with{"Content-Type", applyPatchType}
	before := w.dump("/cyphonic/")
	gn := gnBody("h", "f", "a1", "02:00:00:00:00:02")
	taken := gnBody("h", "f", "a1", "02:00:00:00:00:01")
	status := strings.Replace(gnBody("g", "f", "a1", "02:00:00:00:00:01"), `"spec"`, `"status":{"phase":"Up"},"spec"`, 1)
	cases := []struct {
		name, method, path, body string
		code                     int
		at, want                 string
		headers                  []with
	}{
		{"create", "POST", "generalnodes?dryRun=All", gn, 201, "status.virtualIPv4", "10.1.0.3", nil},
		{"create again", "POST", "generalnodes?dryRun=All", gn, 201, "status.virtualIPv4", "10.1.0.3", nil},
		{"create with a key", "POST", "generalnodes?dryRun=All", gn, 201, "metadata.name", "h", []with{{"Idempotency-Key", "12345678"}}},
		{"create what is there", "POST", "generalnodes?dryRun=All", gnBody("g", "f", "a1", "02:00:00:00:00:02"), 409, "type", typeExists, nil},
		{"a MAC address that is taken", "POST", "generalnodes?dryRun=All", taken, 409, "type", typeTaken, nil},
		{"an adapter that is not there", "POST", "generalnodes?dryRun=All", gnBody("h", "f", "a9", "02:00:00:00:00:02"), 400, "type", typeInvalid, nil},
		{"replace", "PUT", "generalnodes/g?dryRun=All", gnBody("g", "f", "a2", "02:00:00:00:00:01"), 200, "spec.adapter", "a2", nil},
		{"create by replacing", "PUT", "generalnodes/h?dryRun=All", gn, 201, "metadata.name", "h", nil},
		{"replace under another name", "PUT", "generalnodes/g?dryRun=All", gn, 400, "type", typeInvalid, nil},
		{"merge", "PATCH", "generalnodes/g?dryRun=All", `{"metadata":{"labels":{"a":"b"}}}`, 200, "metadata.labels.a", "b", []with{merge}},
		{"apply", "PATCH", "generalnodes/h?dryRun=All&fieldManager=m", gn, 201, "metadata.name", "h", []with{apply}},
		{"status", "PUT", "generalnodes/g/status?dryRun=All", status, 200, "status.phase", "Up", nil},
		{"delete", "DELETE", "generalnodes/g?dryRun=All", "", 200, "metadata.name", "g", nil},
		{"delete what is referred to", "DELETE", "adapters/a1?dryRun=All", "", 409, "type", typeReferenced, nil},
		{"delete with a cascade", "DELETE", "adapters/a1?dryRun=All&cascade=true", "", 200, "metadata.name", "a1", nil},
		{"delete what is not there", "DELETE", "adapters/a9?dryRun=All", "", 404, "status", "", nil},
		{"token", "POST", "enrollmenttokens?dryRun=All", resource("EnrollmentToken", "t", `{"subjectKind":"Adapter","subjectName":"a1"}`), 201, "status.token", "", nil},
	}
	for _, c := range cases {
		r := w.do(c.method, "/api/v1/"+c.path, w.admin, c.body, c.headers...)
		if r.code != c.code || r.text(c.at) != c.want {
			t.Errorf("%s: %d, %s is %q: %s", c.name, r.code, c.at, r.text(c.at), r.raw)
		}
		if r.code < 300 && r.header.Get("Cyphonic-Dry-Run") != "All" {
			t.Errorf("%s: the answer does not say that nothing was written", c.name)
		}
		if after := w.dump("/cyphonic/"); after != before {
			t.Fatalf("%s: the store changed from\n%s\nto\n%s", c.name, before, after)
		}
	}
	if r := w.must(201, "POST", "/api/v1/generalnodes", gn); r.text("status.virtualIPv4") != "10.1.0.3" {
		t.Fatalf("a rehearsal took an address away: %s", r.raw)
	}
	w.must(400, "POST", "/api/v1/generalnodes?dryRun=all", gn)
}
