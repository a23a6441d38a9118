package api

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const validNode = `{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"viewer","labels":{"role":"viewer"}},"spec":{"network":"factory"}}`

func TestDecodeObjectReportsEveryFaultWithItsPointer(t *testing.T) {
	rows := map[string]struct {
		document string
		want     []string // beginnings of the faults in their order
	}{
		"unknown fields at two depths": {
			`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"a","colour":"red"},"spec":{"network":"n"},"extra":1}`,
			[]string{"/metadata/colour: unknown field; there are annotations,", "/extra: unknown field; there are apiVersion,"},
		},
		"other case of letters":       {`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"a"},"spec":{"Network":"n"}}`, []string{"/spec/Network: unknown field, write network"}},
		"key twice":                   {`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"a","name":"b"},"spec":{"network":"n"}}`, []string{"/metadata/name: is given twice"}},
		"pointer is escaped":          {`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"a","labels":{"a/b~c":1}},"spec":{"network":"n"}}`, []string{"/metadata/labels/a~1b~0c: is a number"}},
		"string where object":         {`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":"a","spec":{"network":"n"}}`, []string{"/metadata: is a string, must be an object"}},
		"object where array":          {`{"apiVersion":"cyphonic/v1","kind":"AccessPolicy","metadata":{"name":"a"},"spec":{"from":{}}}`, []string{"/spec/from: is an object, must be an array"}},
		"number too large":            {`{"apiVersion":"cyphonic/v1","kind":"CloudService","metadata":{"name":"a"},"spec":{"port":4294967296}}`, []string{"/spec/port: is 4294967296"}},
		"fraction where whole number": {`{"apiVersion":"cyphonic/v1","kind":"CloudService","metadata":{"name":"a"},"spec":{"port":1.5}}`, []string{"/spec/port: is 1.5"}},
		"string where boolean":        {`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"a"},"spec":{"disabled":"yes"}}`, []string{"/spec/disabled: is a string, must be true or false"}},
		"no time":                     {`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"a","creationTimestamp":"today"},"spec":{}}`, []string{"/metadata/creationTimestamp: must be a time"}},
		"array element":               {`{"apiVersion":"cyphonic/v1","kind":"AccessPolicy","metadata":{"name":"a"},"spec":{"rules":[{},{"ports":[80]}]}}`, []string{"/spec/rules/1/ports/0: is a number, must be a string"}},
		"other version":               {`{"apiVersion":"cyphonic/v2","kind":"Node"}`, []string{`/apiVersion: is "cyphonic/v2", must be "cyphonic/v1"`}},
		"no version, unknown kind":    {`{"kind":"Camera"}`, []string{"/apiVersion: is missing", `/kind: is "Camera", must be one of APIToken, AccessPolicy,`}},
		"something behind":            {validNode + `{}`, []string{"there is something after the end"}},
		"cut off":                     {validNode[:40], []string{"not JSON"}},
		"empty":                       {``, []string{"empty document"}},
		"not an object":               {`[]`, []string{"not a JSON object"}},
		"too deep":                    {strings.Repeat("[", 100000), []string{"nested too deeply"}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			object, err := DecodeObject([]byte(row.document))
			var faults FieldErrors
			if !errors.As(err, &faults) || object != nil {
				t.Fatalf("got %v, %v; want FieldErrors", object, err)
			}
			if len(faults) != len(row.want) {
				t.Fatalf("got %v; want %v", faults, row.want)
			}
			for i, want := range row.want {
				if !strings.HasPrefix(faults[i].String(), want) {
					t.Errorf("fault %d: got %q; want %q…", i, faults[i], want)
				}
			}
		})
	}
}

func TestDecodeLeavesTheTargetAloneOnAFault(t *testing.T) {
	node := &Node{Metadata: ObjectMeta{Name: "before"}}
	if err := Decode([]byte(`{"metadata":{"name":"after"},"unknown":1}`), node); err == nil || node.Metadata.Name != "before" {
		t.Fatalf("got error %v and name %q", err, node.Metadata.Name)
	}
}

func TestDecodeBoundsTheNumberOfFaults(t *testing.T) {
	err := Decode([]byte("{"+strings.Repeat(`"x":1,`, 1000)+`"y":1}`), &Node{})
	var faults FieldErrors
	if !errors.As(err, &faults) || len(faults) != MaxFieldErrors {
		t.Fatalf("got %d faults; want %d", len(faults), MaxFieldErrors)
	}
}

func TestDecodeTakesNullForAbsent(t *testing.T) {
	object, err := DecodeObject([]byte(`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"a"},"spec":{"network":"n"},"status":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if errs := object.Validate(); errs != nil {
		t.Fatal(errs)
	}
}

func FuzzDecodeObject(f *testing.F) {
	f.Add([]byte(validNode))
	for _, document := range validDocuments() {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		object, err := DecodeObject(data)
		if err != nil {
			return
		}
		encoded, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeObject(encoded)
		if err != nil {
			t.Fatalf("what was decoded cannot be decoded again: %v\n%s", err, encoded)
		}
		encodedAgain, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if difference := cmp.Diff(string(encoded), string(encodedAgain)); difference != "" {
			t.Fatal(difference)
		}
		object.Default()
		object.Validate()
	})
}
