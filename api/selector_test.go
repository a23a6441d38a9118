package api

import (
	"strings"
	"testing"
)

func TestLabelSelectors(t *testing.T) {
	labels := map[string]string{"site": "hall-1", "role": "camera", "empty": ""}
	for _, row := range []struct {
		text   string
		faults bool
		want   bool
	}{
		{"", false, true},
		{"site=hall-1", false, true},
		{"site==hall-1,role=camera", false, true},
		{"site = hall-2", false, false},
		{"site!=hall-2", false, true},
		{"missing!=x", false, true},
		{"site in (hall-1, hall-2)", false, true},
		{"site notin (hall-1)", false, false},
		{"missing notin (a)", false, true},
		{"missing in (a)", false, false},
		{"role", false, true},
		{"!role", false, false},
		{"! missing", false, true},
		{"empty=", false, true},
		{"site in hall-1", true, false},
		{"site in (a", true, false},
		{"a=b=c", true, false},
		{",", true, false},
		{"-bad=x", true, false},
		{strings.Repeat("a,", 40) + "a", true, false},
		{strings.Repeat("a", MaxSelectorText+1), true, false},
	} {
		t.Run(row.text, func(t *testing.T) {
			selector, faults := ParseLabelSelector(row.text)
			if (len(faults) > 0) != row.faults {
				t.Fatalf("faults %v", faults)
			}
			if len(faults) == 0 && selector.Matches(labels) != row.want {
				t.Errorf("%+v matches: %v, want %v", selector, !row.want, row.want)
			}
		})
	}
}

func TestFieldSelectors(t *testing.T) {
	g := &GeneralNode{Metadata: ObjectMeta{Name: "cam1"}, Spec: GeneralNodeSpec{Network: "demo", Adapter: "hall-1"}, Status: GeneralNodeStatus{Phase: DevicePhaseUp}}
	for _, row := range []struct {
		text   string
		faults bool
		want   bool
	}{
		{"", false, true},
		{"spec.adapter=hall-1", false, true},
		{"spec.adapter==hall-1,status.phase=Up", false, true},
		{"status.phase!=Up", false, false},
		{"metadata.name != cam2", false, true},
		{"spec.mac=x", true, false},
		{"spec.adapter", true, false},
	} {
		t.Run(row.text, func(t *testing.T) {
			selector, faults := ParseFieldSelector("GeneralNode", row.text)
			if (len(faults) > 0) != row.faults {
				t.Fatalf("faults %v", faults)
			}
			matches := selector.Matches(func(name string) string { return FieldOf(g, name) })
			if len(faults) == 0 && matches != row.want {
				t.Errorf("matches: %v", matches)
			}
		})
	}
}

func FuzzParseLabelSelector(f *testing.F) {
	for _, text := range []string{"a=b", "a in (b,c)", "!a", "a!=b,c notin (d)", "(((", ",,", "a in ()"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		selector, faults := ParseLabelSelector(text)
		if len(faults) == 0 && len(selector) > MaxSelectorRequirements {
			t.Errorf("%d requirements", len(selector))
		}
		selector.Matches(map[string]string{"a": "b"})
	})
}
