package rest

import (
	"strings"
	"testing"
)

// A plan is made with the rights of who asks for it: what they may not see is
// in no part of it, whatever is wrong with the item that names it.
func TestAPlanShowsNothingThatMayNotBeSeen(t *testing.T) {
	m := newMatrixWorld(t)
	m.must(200, "PATCH", "/api/v1/nodes/yard-holder", `{"metadata":{"labels":{"cyphonic/applyset":"fleet"},"annotations":{"note":"yard-only"}}}`, with{"Content-Type", mergePatchType})
	m.must(200, "PATCH", "/api/v1/nodes/hall-holder", `{"metadata":{"labels":{"cyphonic/applyset":"fleet"}}}`, with{"Content-Type", mergePatchType})
	hannah := m.column("hall-editor").token
	for name, body := range map[string]string{
		"an unknown field":          `{"items":[{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"yard-holder"},"spec":{"network":"hall","bogus":1}}]}`,
		"another version":           `{"items":[{"apiVersion":"other","kind":"Node","metadata":{"name":"yard-holder"},"spec":{"network":"hall"}}]}`,
		"an invalid specification":  `{"items":[{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"yard-holder"},"spec":{"network":"hall","fqdn":"-"}}]}`,
		"a role":                    `{"items":[{"apiVersion":"cyphonic/v1","kind":"Role","metadata":{"name":"admin"},"spec":{"bogus":1}}]}`,
		"a token":                   `{"items":[{"apiVersion":"cyphonic/v1","kind":"APIToken","metadata":{"name":"boss"},"bogus":1}]}`,
		"a deletion":                `{"items":[],"deletions":[{"kind":"Node","name":"yard-holder"}]}`,
		"a network that is in use":  `{"items":[],"deletions":[{"kind":"Network","name":"yard"}]}`,
		"a pruning of an apply set": `{"items":[],"applySet":"fleet","prune":true}`,
	} {
		r := m.do("POST", "/api/v1/plans", hannah, body)
		if r.code != 200 {
			t.Errorf("%s: %d %s", name, r.code, r.raw)
		}
		if strings.Contains(r.raw, `"before"`) && !strings.Contains(name, "pruning") {
			t.Errorf("%s: the plan shows what there is: %s", name, r.raw)
		}
		if strings.Contains(name, "pruning") && (!strings.Contains(r.raw, "hall-holder") || strings.Contains(r.raw, "yard-holder")) {
			t.Errorf("%s: %s", name, r.raw)
		}
	}
	own := m.do("POST", "/api/v1/plans", hannah, `{"items":[{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"hall-holder"},"spec":{"network":"hall","bogus":1}}]}`)
	if !strings.Contains(own.raw, `"before"`) {
		t.Errorf("what may be seen is left out: %s", own.raw)
	}
}

func TestAPlanNamesNoDevicesToWhoSeesNone(t *testing.T) {
	m := newMatrixWorld(t)
	policies := m.apiToken("policies", `{"rules":[{"verbs":["*"],"kinds":["AccessPolicy"],"networks":["hall"]},{"verbs":["create"],"kinds":["Plan"],"networks":["hall"]}]}`)
	body := `{"items":[],"deletions":[{"kind":"AccessPolicy","name":"hall-target"}]}`
	if r := m.do("POST", "/api/v1/plans", policies, body); !strings.Contains(r.raw, `"node/(hidden)"`) || strings.Contains(r.raw, "hall-holder") || strings.Contains(r.raw, "hall-camera") {
		t.Errorf("%s", r.raw)
	}
	if r := m.do("POST", "/api/v1/plans", m.column("hall-editor").token, body); strings.Contains(r.raw, "hidden") || !strings.Contains(r.raw, `"from":"`) {
		t.Errorf("%s", r.raw)
	}
}
