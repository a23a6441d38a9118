package rest

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/cache"
)

// What is spliced must be what decoding and encoding again gives.
func TestTheRevisionIsSplicedIntoWhatTheManagerStores(t *testing.T) {
	spliced := 0
	for _, kind := range api.Kinds() {
		if kind.ReadOnly { // is not in the cache
			continue
		}
		o := kind.New()
		*o.Meta() = api.ObjectMeta{
			Name: "n", Uid: "u", Generation: 2, Labels: map[string]string{"a": "<b>&"}, Annotations: map[string]string{"k": "line\nbreak \u2028"},
			CreationTimestamp: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		}
		value, err := encodeEntry(o)
		if err != nil {
			t.Fatal(err)
		}
		out, ok := spliceRevision([]byte("before "), kind, value, 42)
		if !ok {
			t.Errorf("%s: what the manager stores is not recognised: %s", kind.Name, value)
			continue
		}
		spliced++
		text, found := strings.CutPrefix(string(out), "before ")
		if !found || strings.ContainsRune(text, '\n') {
			t.Errorf("%s: %q", kind.Name, out)
		}
		got := kind.New()
		if err := json.Unmarshal([]byte(text), got); err != nil {
			t.Fatalf("%s: %v", kind.Name, err)
		}
		o.Meta().ResourceVersion = "42"
		if !reflect.DeepEqual(got, o) {
			t.Errorf("%s:\n got %+v\nwant %+v", kind.Name, got, o)
		}
	}
	if spliced < 10 {
		t.Errorf("only %d kinds", spliced)
	}
}

func TestWhatIsNotAsTheManagerStoresItIsDecoded(t *testing.T) {
	w := newWorld(t)
	kind := kindOf("nodes")
	for name, value := range map[string]string{
		"indented":           "{\n \"apiVersion\":\"cyphonic/v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n\"},\"spec\":{\"network\":\"f\"}}",
		"indented inside":    "{\"apiVersion\":\"cyphonic/v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n\"},\n\"spec\":{\"network\":\"f\"}}",
		"another order":      `{"kind":"Node","apiVersion":"cyphonic/v1","metadata":{"name":"n"},"spec":{"network":"f"}}`,
		"with a revision":    `{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"n","resourceVersion":"7"},"spec":{"network":"f"}}`,
		"no metadata":        `{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{},"spec":{"network":"f"}}`,
		"of another version": `{"apiVersion":"cyphonic/v1","kind":"Node","spec":{"network":"f"},"more":1}`,
	} {
		out, err := w.server.appendItem(t.Context(), nil, kind, &cache.Item{Name: "n", Value: []byte(value), Revision: 42}, false)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var node api.Node
		if err := json.Unmarshal(out, &node); err != nil || node.Metadata.ResourceVersion != "42" || node.Spec.Network != "f" {
			t.Errorf("%s: %s, %v", name, out, err)
		}
		if strings.ContainsRune(string(out), '\n') || strings.Count(string(out), "resourceVersion") != 1 {
			t.Errorf("%s: %s", name, out)
		}
	}
	if out, err := w.server.appendItem(t.Context(), nil, kind, &cache.Item{Name: "n", Value: []byte("{"), Revision: 42}, false); err == nil {
		t.Errorf("half a resource: %s", out)
	}
}
