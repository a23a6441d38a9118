package gitsync

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyphonic/cyphonic/api"
)

// refuseApply answers the apply of one resource, as often as n says, with a
// refusal that no plan could foresee.
func (w *world) refuseApply(path string, n int64) *atomic.Int64 {
	var refused atomic.Int64
	f := func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || !strings.HasSuffix(r.URL.Path, path) || refused.Load() >= n {
			return false
		}
		refused.Add(1)
		rw.Header().Set("Content-Type", "application/problem+json")
		rw.WriteHeader(http.StatusConflict)
		_ = json.NewEncoder(rw).Encode(api.Problem{Status: http.StatusConflict, Title: "Conflict", Type: "urn:cyphonic:problem:conflict", Detail: "somebody was faster"})
		return true
	}
	w.refuse.Store(&f)
	return &refused
}

func TestARefusalAfterThePlanIsPlannedAgain(t *testing.T) {
	w, _ := begin(t, "", "a")
	refused := w.refuseApply("/nodes/b", 1)
	w.git.Write("nodes/b.yaml", nodeText("b"))
	w.git.Write("nodes/c.yaml", nodeText("c"))
	w.synced(w.git.Commit())
	if refused.Load() != 1 || w.absent("Node", "b") || w.absent("Node", "c") {
		t.Error("the race was not overcome")
	}
}

func TestACommitThatIsRefusedAfterThePlanIsUndone(t *testing.T) {
	w, good := begin(t, "", "a")
	w.refuseApply("/nodes/c", 1<<40)
	w.git.Write("nodes/a.yaml", nodeText("a")+"  disabled: true\n")
	w.git.Write("nodes/b.yaml", nodeText("b"))
	w.git.Write("nodes/c.yaml", nodeText("c"))
	bad := w.git.Commit()
	s := w.refused(bad, "Applied", "RolledBack")
	if s.AppliedCommit != good || len(s.Failures) == 0 || s.Failures[0].File != "nodes/c.yaml" {
		t.Errorf("%s", show(s))
	}
	w.eventually("what had been applied is undone", func() bool {
		return w.absent("Node", "b") && !w.get("Node", "a").(*api.Node).Spec.Disabled
	})
	w.refuse.Store(nil)
	w.synced(bad)
	if w.absent("Node", "b") || w.absent("Node", "c") || !w.get("Node", "a").(*api.Node).Spec.Disabled {
		t.Error("the commit is not applied in the end")
	}
}

// A first commit that takes over what is there, and fails, deletes nothing but
// what it has created itself.
func TestAFirstCommitThatFailsDeletesOnlyWhatItMade(t *testing.T) {
	w := newWorld(t)
	w.create(`{kind: Network, metadata: {name: factory}, spec: {ipv4Prefix: 10.9.0.0/16, ipv6Prefix: "fd00:9::/64", domain: factory.example.internal}}`)
	w.create(`{kind: Node, metadata: {name: a}, spec: {network: factory}}`)
	w.refuseApply("/nodes/c", 1<<40)
	w.git.Write("network.yaml", networkText)
	w.git.Write("all.yaml", nodeText("a")+"---\n"+nodeText("b")+"---\n"+nodeText("c"))
	bad := w.git.Commit()
	w.source("")
	stop := w.run()
	w.refused(bad, "Applied", "PartlyApplied")
	stop()
	if w.absent("Network", "factory") || w.absent("Node", "a") || !w.absent("Node", "b") {
		t.Error("what was there before the commit is gone, or what it made is there")
	}
}

func TestAWriteThatFailsForAWhileIsRepeated(t *testing.T) {
	w, _ := begin(t, "", "a")
	var n atomic.Int64
	f := func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || n.Add(1) > 2 {
			return false
		}
		rw.Header().Set("Content-Type", "application/problem+json")
		rw.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(rw).Encode(api.Problem{Status: http.StatusServiceUnavailable, Title: "Service Unavailable"})
		return true
	}
	w.refuse.Store(&f)
	w.git.Write("nodes/b.yaml", nodeText("b"))
	w.synced(w.git.Commit())
}
