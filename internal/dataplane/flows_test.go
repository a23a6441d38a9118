package dataplane

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestFlowTableAgreesWithAModel compares the table with a plain list in the order of use.
func TestFlowTableAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table flowTable
		var model []flowKey // oldest first
		key := rapid.Custom(func(t *rapid.T) flowKey {
			return flowKey{version: 4, protocol: protocolUDP, local: rapid.Uint16Range(0, 20).Draw(t, "port")}
		})
		now := int64(1)
		t.Repeat(map[string]func(*rapid.T){
			"use": func(t *rapid.T) {
				k := key.Draw(t, "key")
				f := table.find(k, now)
				if at := slices.Index(model, k); (f != nil) != (at >= 0) {
					t.Fatalf("found %v, model has it at %d", f, at)
				} else if at >= 0 {
					model = slices.Delete(model, at, at+1)
				} else {
					f = table.open(flow{key: k})
				}
				f.seen = now
				model = append(model, k)
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				table.delete(k)
				model = slices.DeleteFunc(model, func(o flowKey) bool { return o == k })
			},
			"": func(t *rapid.T) {
				now++
				if len(table.index) != len(model) {
					t.Fatalf("%d flows, model has %d", len(table.index), len(model))
				}
				if len(model) == 0 {
					return
				}
				at := table.oldest
				for i, k := range model {
					if table.flows[at].key != k {
						t.Fatalf("place %d: %v, model has %v", i, table.flows[at].key, k)
					}
					at = table.flows[at].newer
				}
				if at != -1 {
					t.Fatal("the list goes on")
				}
			},
		})
	})
}
