package check

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// Intervals of the autoscaler as Kubernetes sets them by default.
const (
	syncPeriod = 15 * time.Second // --horizontal-pod-autoscaler-sync-period
	tolerance  = 0.1              // --horizontal-pod-autoscaler-tolerance
)

// Desired is the number of replicas that one metric asks for:
// ceil(current × value / target), and the present number within the tolerance.
func Desired(current int, value, target float64) int {
	ratio := value / target
	if math.Abs(ratio-1) <= tolerance {
		return current
	}
	// A hair less, so that 5 × 0.9/0.7 and the like are not rounded up by the representation of numbers.
	return int(math.Ceil(float64(current)*ratio - 1e-9))
}

// Autoscaler plays one HorizontalPodAutoscaler in simulated time. The metric is CPU: what all replicas together use,
// in cores, over what one requests.
type Autoscaler struct {
	spec     autoscalingv2.HorizontalPodAutoscalerSpec
	request  float64 // cores of one replica
	replicas int
	wanted   []advice
	changes  []change
}

type advice struct {
	at       time.Duration
	replicas int
}

type change struct {
	at time.Duration
	by int
}

// NewAutoscaler starts with the least number of replicas.
func NewAutoscaler(spec autoscalingv2.HorizontalPodAutoscalerSpec, requestCores float64) *Autoscaler {
	return &Autoscaler{spec: spec, request: requestCores, replicas: int(*spec.MinReplicas)}
}

// Step decides at a time, given what all replicas use together, and returns the number of replicas from then on.
func (a *Autoscaler) Step(now time.Duration, cores float64) int {
	target := 0.0
	for _, m := range a.spec.Metrics {
		if m.Resource != nil && m.Resource.Name == "cpu" {
			target = float64(*m.Resource.Target.AverageUtilization) / 100
		}
	}
	want := Desired(a.replicas, cores/float64(a.replicas)/a.request, target)
	want = min(max(want, int(*a.spec.MinReplicas)), int(a.spec.MaxReplicas))
	a.wanted = append(a.wanted, advice{now, want})
	if want < a.replicas {
		want = min(a.replicas, a.highest(now, a.spec.Behavior.ScaleDown))
	}
	want = a.limit(now, want)
	if want != a.replicas {
		a.changes = append(a.changes, change{now, want - a.replicas})
		a.replicas = want
	}
	return a.replicas
}

// highest is the greatest advice within the stabilization window: scaling in follows it.
func (a *Autoscaler) highest(now time.Duration, rules *autoscalingv2.HPAScalingRules) int {
	window := time.Duration(*rules.StabilizationWindowSeconds) * time.Second
	highest := 0
	for _, w := range a.wanted {
		if now-w.at <= window {
			highest = max(highest, w.replicas)
		}
	}
	return highest
}

// limit keeps a change within what the policies allow in their periods.
func (a *Autoscaler) limit(now time.Duration, want int) int {
	rules, sign := a.spec.Behavior.ScaleUp, 1
	if want < a.replicas {
		rules, sign = a.spec.Behavior.ScaleDown, -1
	}
	most := 0
	for _, p := range rules.Policies {
		period := time.Duration(p.PeriodSeconds) * time.Second
		recent := 0
		for _, c := range a.changes {
			if now-c.at < period && c.by*sign > 0 {
				recent += c.by * sign
			}
		}
		allowed := int(p.Value)
		if p.Type == autoscalingv2.PercentScalingPolicy {
			// The period began with what there is now less what was added in it.
			allowed = int(math.Ceil(float64(a.replicas-sign*recent) * float64(p.Value) / 100))
		}
		most = max(most, allowed-recent)
	}
	if sign > 0 {
		return min(want, a.replicas+most)
	}
	return max(want, a.replicas-most)
}
