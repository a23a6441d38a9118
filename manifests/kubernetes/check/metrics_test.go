package check

import (
	"os"
	"slices"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/cyphonic/cyphonic/internal/catalogue"
)

// A metric that nobody exports would keep an autoscaler from scaling in: it takes what it cannot read as a reason to wait.
func TestMetricsOfAutoscalersAreExported(t *testing.T) {
	exported, err := catalogue.Read("../../..")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("../components/custom-metrics/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Rules []struct {
			SeriesQuery string `yaml:"seriesQuery"`
			Name        struct {
				As string `yaml:"as"`
			} `yaml:"name"`
		} `yaml:"rules"`
	}
	if err := yaml.Unmarshal(raw, &rules); err != nil {
		t.Fatal(err)
	}
	offered := make(map[string]bool)
	for _, r := range rules.Rules {
		series, _, _ := strings.Cut(r.SeriesQuery, "{")
		if !slices.ContainsFunc(exported.Metrics, func(m catalogue.Metric) bool { return m.Name == series }) {
			t.Errorf("no program has a metric %q", series)
		}
		if r.Name.As != "" {
			series = r.Name.As
		}
		offered[series] = true
	}
	asked := 0
	for _, overlay := range overlays(t) {
		for _, h := range each[*autoscalingv2.HorizontalPodAutoscaler](decode(t, build(t, overlay, []string{"custom-metrics"}))) {
			for _, m := range h.Spec.Metrics {
				if m.Pods == nil {
					continue
				}
				if asked++; !offered[m.Pods.Metric.Name] {
					t.Errorf("%s, %s: no rule makes %q", overlay, h.Name, m.Pods.Metric.Name)
				}
			}
		}
	}
	if asked == 0 {
		t.Error("the component asks for nothing")
	}
}
