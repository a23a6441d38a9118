package check

import (
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

func TestTheFormula(t *testing.T) {
	for _, c := range []struct {
		name          string
		current       int
		value, target float64
		want          int
	}{
		{"five at 90 % with a target of 70 %", 5, 0.90, 0.70, 7},
		{"at the target", 5, 0.70, 0.70, 5},
		{"within the tolerance", 5, 0.76, 0.70, 5},
		{"half of the target", 4, 0.25, 0.50, 2},
		{"twice the target", 3, 1.00, 0.50, 6},
		{"nothing to do", 3, 0, 0.50, 0},
	} {
		if got := Desired(c.current, c.value, c.target); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// scaler is the autoscaler of the NMS as it is in an overlay.
func scaler(t *testing.T, overlay string) autoscalingv2.HorizontalPodAutoscalerSpec {
	t.Helper()
	for _, h := range each[*autoscalingv2.HorizontalPodAutoscaler](render(t, overlay)) {
		if h.Name == "nms" {
			return h.Spec
		}
	}
	t.Fatal("there is none")
	return autoscalingv2.HorizontalPodAutoscalerSpec{}
}

// TestTheThesisTable replays the load of the thesis's second verification: 100 requests/s more each minute, and the cores that all
// replicas used then. Its replicas asked for 0.8 cores with a target of 50 %, at most three of them.
func TestTheThesisTable(t *testing.T) {
	a := NewAutoscaler(scaler(t, "one-machine"), 0.8)
	cores := []float64{0.25, 0.37, 0.66, 0.93, 1.34, 2.05}
	settled := []int{1, 1, 2, 3, 3, 3}
	for minute, used := range cores {
		var replicas int
		for step := range int(time.Minute / syncPeriod) {
			replicas = a.Step(time.Duration(minute)*time.Minute+time.Duration(step)*syncPeriod, used)
		}
		if replicas != settled[minute] {
			t.Errorf("%d requests/s: %d replicas, want %d", 100*(minute+1), replicas, settled[minute])
		}
	}
}

func TestScalingInIsSlowerThanADrain(t *testing.T) {
	spec := scaler(t, "production-speaker")
	a := NewAutoscaler(spec, 0.2)
	now := time.Duration(0)
	for range 8 {
		a.Step(now, 1.0)
		now += syncPeriod
	}
	top := a.replicas
	if top != 10 {
		t.Fatalf("%d replicas for 1.0 cores of 0.2 with a target of 50 %%", top)
	}
	start, last := now, now
	var gaps []time.Duration
	for a.replicas > int(*spec.MinReplicas) && now < start+time.Hour {
		before := a.replicas
		if after := a.Step(now, 0.05); after < before {
			if before-after != 1 {
				t.Fatalf("%d replicas leave at once", before-after)
			}
			gaps = append(gaps, now-last)
			last = now
		}
		now += syncPeriod
	}
	if a.replicas != int(*spec.MinReplicas) {
		t.Fatalf("%d replicas are left", a.replicas)
	}
	if gaps[0] < 5*time.Minute-syncPeriod {
		t.Errorf("the first replica leaves after %v", gaps[0])
	}
	for _, gap := range gaps[1:] {
		if gap < time.Minute {
			t.Errorf("another replica leaves after %v, before the drain of the last is over", gap)
		}
	}
}
