package gitsync

import (
	"crypto/sha256"
	"encoding/json"
	"hash/fnv"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/applyset"
	"github.com/cyphonic/cyphonic/manager/cache"
)

// print stands for everything that a plan of a set depends on and that can
// change between two rounds, reports of devices left out. While it stays the
// same a plan that found nothing to do would find nothing again, and is saved:
// with a hundred sources of thousands of resources, planning all of them every
// minute would be most of what a manager does.
type print struct {
	commit     string
	generation int64 // of the source
	documents  [sha256.Size]byte
	members    uint64 // what has the label of the apply set
}

// printOf looks at the resources of a set.
func printOf(source *api.GitSource, s *set, view func(plural string) cache.View, members uint64) print {
	p := print{commit: s.commit, generation: source.Metadata.Generation, members: members}
	sum := sha256.New()
	encoder := json.NewEncoder(sum)
	views := map[string]cache.View{}
	for _, d := range s.documents {
		v, ok := views[d.kind.Plural]
		if !ok {
			v = view(d.kind.Plural)
			views[d.kind.Plural] = v
		}
		var o struct {
			Name     string
			Metadata json.RawMessage `json:"metadata"`
			Spec     json.RawMessage `json:"spec"`
		}
		if item, ok := v.Get(d.name); ok && json.Unmarshal(item.Value, &o) != nil {
			o.Metadata, o.Spec = nil, nil // whatever it is, a plan will say
		}
		o.Name = d.key()
		_ = encoder.Encode(o) // raw JSON that was decoded can be encoded, and a hash takes everything
	}
	sum.Sum(p.documents[:0])
	return p
}

// memberOf is the part of a resource in the sums of a census.
func memberOf(key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // a hash takes everything
	return h.Sum64()
}

// complete says that what belongs to the apply set is what the set has: there
// is nothing that could be pruned one day.
func (p print) complete(s *set) bool {
	var sum uint64
	for _, d := range s.documents {
		sum += memberOf(d.key())
	}
	return p.members == sum
}

// census knows which resources belong to which apply set. It looks at all
// resources at once, for all sources, and not too often.
type census struct {
	view func(plural string) cache.View
	now  func() time.Time
	age  time.Duration // censusInterval; tests shorten it

	mu      sync.Mutex
	at      time.Time         // under mu
	members map[string]uint64 // under mu; by apply set, a sum of hashes of kinds and names
}

// of is the same for the same members.
func (c *census) of(applySet string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); c.members == nil || now.Sub(c.at).Abs() >= c.age {
		c.at, c.members = now, map[string]uint64{}
		for _, kind := range applyset.Kinds() {
			c.view(kind.Plural).Ascend("", func(i *cache.Item) bool {
				if set := i.Labels[applyset.Label]; set != "" {
					c.members[set] += memberOf(kind.Name + "/" + i.Name)
				}
				return true
			})
		}
	}
	return c.members[applySet]
}
