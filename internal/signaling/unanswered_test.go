package signaling

import (
	"testing"
	"time"
)

func TestUnansweredIsReportedAfterGrowingTimes(t *testing.T) {
	n := newNMS(t)
	var at []time.Duration
	for waited := time.Duration(0); waited < time.Hour; waited += time.Second {
		if n.wait(time.Second); len(n.c.Events()) > 0 {
			at = append(at, waited)
		}
	}
	if len(at) != 3 || at[0] < 10*time.Second || at[0] > 30*time.Second || at[1] < 3*time.Minute || at[2] < 15*time.Minute {
		t.Errorf("reported after %v", at)
	}
}
