package tunnel

import (
	"testing"

	"pgregory.net/rapid"
)

func TestReplayFilter(t *testing.T) {
	const w = ReplayWindow
	type step struct {
		counter uint64
		want    bool
	}
	for _, row := range []struct {
		name  string
		steps []step
	}{
		{"zero first", []step{{0, true}, {0, false}, {1, true}}},
		{"zero after a higher one", []step{{5, true}, {0, true}, {0, false}, {5, false}}},
		{"a whole window late", []step{{w, true}, {0, true}, {0, false}}},
		{"far too late", []step{{3 * w, true}, {w, false}, {0, false}}},
		{"after a jump of many windows", []step{{1, true}, {100 * w, true}, {1, false}, {100*w - 1, true}, {100*w + 1, true}}},
		{"a jump of exactly one turn of the ring", []step{{7, true}, {7 + replayWords*wordBits, true}, {7, false}, {8, false}, {7 + replayWords*wordBits, false}}},
		{"the same bit one turn later", []step{{0, true}, {replayWords * wordBits, true}, {replayWords * wordBits, false}}},
		{"the last counter", []step{{RejectAfterMessages - 1, true}, {RejectAfterMessages - 1, false}, {RejectAfterMessages - w, true}}},
		{"the largest number", []step{{1<<64 - 1, true}, {1<<64 - 1, false}, {1<<64 - 2, true}, {0, false}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var f replayFilter
			for i, s := range row.steps {
				if got := f.accept(s.counter); got != s.want {
					t.Fatalf("step %d, counter %d: got %v", i, s.counter, got)
				}
			}
		})
	}
}

// TestReplayFilterAgainstASet compares with a set of all counters seen: never twice, and nothing within the
// window is lost.
func TestReplayFilterAgainstASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f replayFilter
		seen := make(map[uint64]bool)
		var highest uint64
		for _, counter := range rapid.SliceOfN(rapid.Uint64Range(0, 4*ReplayWindow), 1, 400).Draw(t, "counters") {
			got := f.accept(counter)
			switch {
			case seen[counter] && got:
				t.Fatalf("%d is accepted twice", counter)
			case !seen[counter] && !got && counter+ReplayWindow >= highest:
				t.Fatalf("%d is refused though new, with %d the highest", counter, highest)
			}
			seen[counter] = seen[counter] || got
			highest = max(highest, counter)
		}
	})
}
