package rest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// applies sends an apply patch.
func (w *world) applies(code int, manager, path, body string, query ...string) reply {
	w.t.Helper()
	path += "?fieldManager=" + manager + strings.Join(query, "")
	return w.must(code, "PATCH", path, body, with{"Content-Type", applyPatchType})
}

// merges sends a merge patch.
func (w *world) merges(code int, path, body string, headers ...with) reply {
	w.t.Helper()
	return w.must(code, "PATCH", path, body, append([]with{{"Content-Type", mergePatchType}}, headers...)...)
}

// owners writes metadata.managedFields as "admin+Update:/spec/a,/spec/b …".
func (r reply) owners() string {
	var out []string
	list, _ := r.at("metadata.managedFields").([]any)
	for _, e := range list {
		m := e.(map[string]any)
		var pointers []string
		for _, f := range m["fields"].([]any) {
			pointers = append(pointers, f.(string))
		}
		out = append(out, fmt.Sprintf("%v+%v:%s", m["manager"], m["operation"], strings.Join(pointers, ",")))
	}
	return strings.Join(out, " ")
}

func TestMergePatch(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/generalnodes", gnBody("g", "f", "a1", "02:00:00:00:00:01"))
	path := "/api/v1/generalnodes/g"
	first := w.merges(200, path, `{"metadata":{"labels":{"a":"1","b":"2"}},"spec":{"disabled":true,"mac":"02:00:00:00:00:0A"}}`)
	if first.text("metadata.labels.a") != "1" || first.at("spec.disabled") != true || first.text("spec.mac") != "02:00:00:00:00:0a" || first.at("metadata.generation") != 2.0 {
		t.Fatal(first.raw)
	}
	second := w.merges(200, path, `{"metadata":{"labels":{"a":null}},"spec":{"disabled":null},"status":{"phase":"Up"}}`)
	if second.at("metadata.labels.a") != nil || second.text("metadata.labels.b") != "2" || second.at("spec.disabled") != nil || second.text("status.phase") != "Absent" || second.text("spec.adapter") != "a1" {
		t.Fatal(second.raw)
	}
	version := second.text("metadata.resourceVersion")
	if again := w.merges(200, path, `{"metadata":{"labels":{"b":"2"}},"spec":{"disabled":false}}`); again.text("metadata.resourceVersion") != version {
		t.Fatalf("an unchanged patch wrote: %s", again.raw)
	}
	cases := []struct {
		name, body string
		code       int
		pointers   string
	}{
		{"unknown field", `{"spec":{"colour":"red"}}`, 400, "/spec/colour"},
		{"wrong type", `{"spec":{"mac":7}}`, 400, "/spec/mac"},
		{"mandatory field removed", `{"spec":{"mac":null}}`, 400, "/spec/mac"},
		{"invalid value", `{"spec":{"mac":"x"}}`, 400, "/spec/mac"},
		{"fixed field", `{"spec":{"network":"g"}}`, 400, "/spec/network"},
		{"absent reference", `{"spec":{"adapter":"a9"}}`, 400, "/spec/adapter"},
		{"address outside", `{"spec":{"virtualIPv4":"10.9.0.1"}}`, 400, "/spec/virtualIPv4"},
		{"other name", `{"metadata":{"name":"h"}}`, 400, "/metadata/name"},
		{"other kind", `{"kind":"Node"}`, 400, "/kind"},
		{"other uid", `{"metadata":{"uid":"x"}}`, 409, "/metadata/uid"},
		{"old revision", `{"metadata":{"resourceVersion":"1"}}`, 409, "/metadata/resourceVersion"},
		{"a key twice", `{"spec":{"mac":"02:00:00:00:00:01","mac":"02:00:00:00:00:02"}}`, 400, "/spec/mac"},
		{"metadata is no object", `{"metadata":7}`, 400, "/metadata"},
		{"no object", `[]`, 400, ""},
		{"null", `null`, 400, ""},
		{"no JSON", `{`, 400, ""},
		{"system finalizer", `{"metadata":{"finalizers":["cyphonic/x"]}}`, 400, "/metadata/finalizers/0"},
	}
	for _, c := range cases {
		r := w.do("PATCH", path, w.admin, c.body, with{"Content-Type", mergePatchType})
		if r.code != c.code || r.pointers() != c.pointers {
			t.Errorf("%s: %d at %q: %s", c.name, r.code, r.pointers(), r.raw)
		}
	}
	w.merges(412, path, `{"spec":{"disabled":true}}`, with{"If-Match", `"1"`})
	w.merges(404, "/api/v1/generalnodes/none", `{}`)
	if r := w.do("PATCH", path, w.admin, `{}`, with{"Content-Type", "application/json"}); r.code != 415 {
		t.Errorf("%d %s", r.code, r.raw)
	}
	if r := w.must(200, "GET", path, ""); r.text("metadata.resourceVersion") != version {
		t.Error("a refused patch changed something")
	}
}

func applied(name, labels, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":"GeneralNode","metadata":{"name":%q,"labels":%s},"spec":%s}`, name, labels, spec)
}

func TestApplyWithFieldManagers(t *testing.T) {
	w := newWorld(t)
	w.factory()
	path := "/api/v1/generalnodes/g"
	base := `{"network":"f","adapter":"a1","mac":"02:00:00:00:00:0A"}`
	created := w.applies(201, "git", path, applied("g", `{"role":"camera","site":"x"}`, base))
	if created.owners() != "git+Apply:/metadata/labels/role,/metadata/labels/site,/spec/adapter,/spec/mac,/spec/network" || created.text("spec.mac") != "02:00:00:00:00:0a" {
		t.Fatalf("%s: %s", created.owners(), created.raw)
	}
	version := created.text("metadata.resourceVersion")
	if same := w.applies(200, "git", path, applied("g", `{"role":"camera","site":"x"}`, base)); same.text("metadata.resourceVersion") != version {
		t.Fatalf("applying twice wrote: %s", same.raw)
	}
	w.applies(200, "person", path, applied("g", `{"floor":"2"}`, `{"disabled":true}`))
	changed := w.applies(200, "git", path, applied("g", `{"role":"camera"}`, base))
	if changed.at("metadata.labels.site") != nil || changed.text("metadata.labels.floor") != "2" || changed.at("spec.disabled") != true {
		t.Fatal(changed.raw)
	}
	clash := w.applies(409, "person", path, applied("g", `{"role":"printer"}`, `{}`))
	if clash.text("type") != typeFieldConflict || clash.pointers() != "/metadata/labels/role" || clash.at("errors").([]any)[0].(map[string]any)["owner"] != "git" || !strings.Contains(clash.text("detail"), "force=true") {
		t.Fatal(clash.raw)
	}
	forced := w.applies(200, "person", path, applied("g", `{"role":"printer"}`, `{}`), "&force=true")
	if forced.text("metadata.labels.role") != "printer" || forced.owners() != "git+Apply:/spec/adapter,/spec/mac,/spec/network person+Apply:/metadata/labels/role" || forced.at("spec.disabled") != nil {
		t.Fatalf("%s: %s", forced.owners(), forced.raw)
	}
	put := w.must(200, "PUT", path+"?fieldManager=hand", strings.Replace(gnBody("g", "f", "a2", "02:00:00:00:00:0a"), `"name"`, `"labels":{"role":"printer"},"name"`, 1))
	if put.owners() != "git+Apply:/spec/mac,/spec/network hand+Update:/spec/adapter person+Apply:/metadata/labels/role" {
		t.Fatal(put.owners())
	}
	w.applies(409, "git", path, applied("g", `{}`, base))
	patched := w.merges(200, path, `{"spec":{"disabled":true}}`)
	if !strings.HasPrefix(patched.owners(), "admin+Update:/spec/disabled ") {
		t.Fatal(patched.owners())
	}
}

func TestApplyRefuses(t *testing.T) {
	w := newWorld(t)
	w.factory()
	good := applied("g", `{}`, `{"network":"f","adapter":"a1","mac":"02:00:00:00:00:01"}`)
	cases := []struct {
		name, query, body string
		code              int
		pointers          string
	}{
		{"no field manager", "", good, 400, ""},
		{"bad field manager", "?fieldManager=%20x", good, 400, ""},
		{"other name", "?fieldManager=m", strings.Replace(good, `"g"`, `"h"`, 1), 400, "/metadata/name"},
		{"no kind", "?fieldManager=m", strings.Replace(good, `"kind":"GeneralNode",`, ``, 1), 400, "/kind"},
		{"other kind", "?fieldManager=m", strings.Replace(good, `"GeneralNode"`, `"Node"`, 1), 400, "/kind"},
		{"unknown field", "?fieldManager=m", strings.Replace(good, `"mac"`, `"colour":"red","mac"`, 1), 400, "/spec/colour"},
		{"incomplete", "?fieldManager=m", strings.Replace(good, `"adapter":"a1",`, ``, 1), 400, "/spec/adapter"},
		{"a revision of what is not there", "?fieldManager=m", strings.Replace(good, `"name":"g"`, `"name":"g","resourceVersion":"5"`, 1), 409, "/metadata/resourceVersion"},
	}
	for _, c := range cases {
		r := w.do("PATCH", "/api/v1/generalnodes/g"+c.query, w.admin, c.body, with{"Content-Type", applyPatchType})
		if r.code != c.code || r.pointers() != c.pointers {
			t.Errorf("%s: %d at %q: %s", c.name, r.code, r.pointers(), r.raw)
		}
	}
	w.applies(201, "m", "/api/v1/generalnodes/g", good)
	w.applies(409, "m", "/api/v1/generalnodes/g", strings.Replace(good, `"name":"g"`, `"name":"g","resourceVersion":"1"`, 1))
	if r := w.do("PATCH", "/api/v1/generalnodes/g?fieldManager=m", w.admin, good, with{"Content-Type", applyPatchType}, with{"If-Match", `"1"`}); r.code != 412 {
		t.Errorf("If-Match: %d", r.code)
	}
}

// TestManagersApplyTheirPartsAtOnce lets field managers on two servers apply
// different labels of one resource: none is lost.
func TestManagersApplyTheirPartsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.factory()
	w.must(201, "POST", "/api/v1/nodes", nodeBody("n", "f"))
	other := *w
	other.serve(w.store)
	const writers, rounds = 4, 5
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			at := w
			if i%2 == 1 {
				at = &other
			}
			for round := range rounds {
				body := fmt.Sprintf(`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"n","labels":{"l%d":"%d"}},"spec":{}}`, i, round)
				r := at.do("PATCH", fmt.Sprintf("/api/v1/nodes/n?fieldManager=m%d", i), at.admin, body, with{"Content-Type", applyPatchType})
				if r.code != 200 {
					t.Errorf("writer %d: %d %s", i, r.code, r.raw)
				}
			}
		})
	}
	wg.Wait()
	r := w.must(200, "GET", "/api/v1/nodes/n", "")
	for i := range writers {
		if r.text(fmt.Sprintf("metadata.labels.l%d", i)) != fmt.Sprint(rounds-1) {
			t.Fatalf("the label of writer %d is lost: %s", i, r.raw)
		}
	}
}

// TestMergePatchAsInRFC7386 has the examples of its appendix A whose target and
// patch are objects.
func TestMergePatchAsInRFC7386(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		target, err := parseTree([]byte(c[0]))
		if err != nil {
			t.Fatal(err)
		}
		patch, err := parseTree([]byte(c[1]))
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(mergePatch(target, patch))
		if err != nil || string(got) != c[2] {
			t.Errorf("%s with %s: got %s, want %s", c[0], c[1], got, c[2])
		}
	}
}
