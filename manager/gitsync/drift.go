package gitsync

import (
	"encoding/json"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
)

// drifted counts the resources of which others have taken fields, and the
// general nodes of a commit that are not at their adapter as they are desired:
// its adapter has not seen the last change of their specification, or they are
// not up.
func drifted(s *set, taken map[string]bool, v cache.View) int64 {
	n := int64(len(taken))
	if s == nil {
		return n
	}
	for _, d := range s.documents {
		if d.kind.Plural != keyspace.GeneralNodes || taken[d.from.Name()] {
			continue
		}
		if item, ok := v.Get(d.name); !ok || !realised(item.Value) {
			n++
		}
	}
	return n
}

func realised(value []byte) bool {
	var g api.GeneralNode
	if json.Unmarshal(value, &g) != nil {
		return false
	}
	if g.Status.ObservedGeneration < g.Metadata.Generation {
		return false
	}
	return g.Spec.Disabled || g.Status.Phase == api.DevicePhaseUp
}
