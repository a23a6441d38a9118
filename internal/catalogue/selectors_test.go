package catalogue

import (
	"slices"
	"testing"
)

func TestSelectors(t *testing.T) {
	for expression, want := range map[string][]string{
		`sum by (phase) (cyphonic_adapter_general_nodes{adapter!="", phase=~"a|cyphonic_x"})`: {`cyphonic_adapter_general_nodes{adapter!="", phase=~"a|cyphonic_x"}`},
		`rate(cyphonic_as_logins_total[5m]) / adapter:relayed_tunnels:ratio > up`:             {"cyphonic_as_logins_total", "adapter:relayed_tunnels:ratio", "up"},
		`topk(10, go_goroutines) or vector(0)`:                                                {"go_goroutines"},
		`1 + 2`:                                                                               nil,
	} {
		var got []string
		for _, s := range Selectors(expression) {
			got = append(got, s.Text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
	if s := Selectors(`cyphonic_as_logins_total{kind!~"a", outcome="b"}`); !slices.Equal(s[0].Labels, []string{"kind", "outcome"}) {
		t.Errorf("%+v", s)
	}
	c := read(t)
	for expression, good := range map[string]bool{
		`cyphonic_as_logins_total{outcome="x", instance="y"}`: true,
		`cyphonic_as_logins_total{verdict="x"}`:               false,
		`cyphonic_as_logouts_total`:                           false,
		`adapter:known:ratio`:                                 true,
		`adapter:unknown:ratio`:                               false,
		`process_cpu_seconds_total{anything="x"}`:             true,
	} {
		if fault := c.Misused(Selectors(expression)[0], []string{"adapter:known:ratio"}); (fault == "") != good {
			t.Errorf("%s: %q", expression, fault)
		}
	}
}
