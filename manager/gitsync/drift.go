package gitsync

import (
	"encoding/json"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/cache"
)

// unrealised counts the general nodes of a commit that are not at their adapter
// as they are desired: its adapter has not seen the last change of their
// specification, or they are not up.
func unrealised(s *set, v cache.View) int64 {
	if s == nil {
		return 0
	}
	var n int64
	for _, d := range s.documents {
		if d.kind.Plural != keyspace.GeneralNodes {
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
