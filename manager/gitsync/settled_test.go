package gitsync

import (
	"testing"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/applyset"
)

func TestWhatCannotHaveChangedIsNotPlannedAgain(t *testing.T) {
	w := newWorld(t)
	w.syncer.census.age = 0
	w.git.Write("network.yaml", networkText)
	w.git.Write("a.yaml", nodeText("a")+"  disabled: false\n")
	commit := w.git.Commit()
	w.source("")
	w.run()
	w.synced(commit)
	settled := func() bool {
		before := w.plans.Load()
		w.rounds(2)
		return w.plans.Load() == before
	}
	w.eventually("the plans cease", settled)
	n := w.get("Node", "a").(*api.Node)
	n.Status.Phase = api.DevicePhaseUp
	n.Metadata = api.ObjectMeta{Name: "a"}
	if _, err := w.admin.PutStatus(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if !settled() {
		t.Error("the report of a device is planned for")
	}
	w.edit("a", func(n *api.Node) { n.Spec.Disabled = true })
	w.eventually("what is changed by hand is corrected", func() bool { return !w.get("Node", "a").(*api.Node).Spec.Disabled })
	w.eventually("the plans cease", settled)
	w.create(`{kind: Node, metadata: {name: stowaway, labels: {"cyphonic/applyset": git-fleet}}, spec: {network: factory}}`)
	w.eventually("what joins the apply set by hand is deleted", func() bool { return w.absent("Node", "stowaway") })
	w.eventually("the plans cease", settled)
	w.create(`{kind: Node, metadata: {name: guest, labels: {"cyphonic/applyset": git-fleet}, annotations: {"cyphonic/prune": disabled}}, spec: {network: factory}}`)
	w.rounds(3)
	guest := w.get("Node", "guest")
	delete(guest.Meta().Annotations, applyset.PruneKey)
	if _, _, err := w.admin.Replace(t.Context(), guest, client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("what is not protected any more is deleted", func() bool { return w.absent("Node", "guest") })
}
