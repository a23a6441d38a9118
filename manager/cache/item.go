package cache

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unique"

	"github.com/cyphonic/cyphonic/manager/store"
)

// Item is one resource. It is never changed: nobody may write to what it
// refers to.
type Item struct {
	Name  string
	Value []byte // JSON, as stored
	// CreateRevision is the revision that created the resource, Revision the
	// one that last wrote it.
	Revision, CreateRevision int64
	// Labels may be shared with other items. It is nil if there are none.
	Labels                  map[string]string
	Network, Adapter, Phase string // spec.network, spec.adapter, status.phase
	Method                  string // spec.authentication.method
	Off                     bool   // spec.disabled, or the resource is being deleted

	ipv4, ipv6 bool // has a virtual address of the family
}

// fields are what an Item takes out of a resource.
type fields struct {
	Metadata struct {
		Labels            map[string]string `json:"labels"`
		DeletionTimestamp string            `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Network        string `json:"network"`
		Adapter        string `json:"adapter"`
		Disabled       bool   `json:"disabled"`
		Authentication struct {
			Method string `json:"method"`
		} `json:"authentication"`
	} `json:"spec"`
	Status struct {
		Phase       string `json:"phase"`
		VirtualIPv4 string `json:"virtualIPv4"`
		VirtualIPv6 string `json:"virtualIPv6"`
	} `json:"status"`
}

// decoder makes items. It belongs to one goroutine.
type decoder struct {
	labels map[string]map[string]string // label maps by their text
}

func newDecoder() *decoder { return &decoder{labels: make(map[string]map[string]string)} }

// item takes over an entry. A value that cannot be decoded is kept with an
// error: it can still be looked at by name and deleted.
func (d *decoder) item(name string, e store.Entry) (*Item, error) {
	return d.itemOf(name, e, parse(e))
}

// parsed is what is found in a value.
type parsed struct {
	fields
	err error
}

// parse is the part of the work that any goroutine may do.
func parse(e store.Entry) (p parsed) {
	p.err = json.Unmarshal(e.Value, &p.fields)
	return p
}

func (d *decoder) itemOf(name string, e store.Entry, f parsed) (*Item, error) {
	i := &Item{Name: strings.Clone(name), Value: e.Value, Revision: e.Revision, CreateRevision: e.CreateRevision}
	if f.err != nil {
		return i, fmt.Errorf("%s: %w", e.Key, f.err)
	}
	i.Labels = d.share(f.Metadata.Labels)
	i.Network, i.Adapter, i.Phase = intern(f.Spec.Network), intern(f.Spec.Adapter), intern(f.Status.Phase)
	i.Method, i.Off = intern(f.Spec.Authentication.Method), f.Spec.Disabled || f.Metadata.DeletionTimestamp != ""
	i.ipv4, i.ipv6 = f.Status.VirtualIPv4 != "", f.Status.VirtualIPv6 != ""
	return i, nil
}

// intern returns one copy of a text that many resources have.
func intern(text string) string {
	if text == "" {
		return ""
	}
	return unique.Make(text).Value()
}

// share returns one map for all resources with the same labels.
func (d *decoder) share(labels map[string]string) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		text.WriteString(k)
		text.WriteByte(0)
		text.WriteString(labels[k])
		text.WriteByte(0)
	}
	if known, ok := d.labels[text.String()]; ok {
		return known
	}
	if len(d.labels) >= labelSets {
		clear(d.labels)
	}
	own := make(map[string]string, len(labels))
	for k, v := range labels {
		own[intern(k)] = intern(v)
	}
	d.labels[text.String()] = own
	return own
}

// size is about what a change costs in memory that refers to the item.
func (i *Item) size() int {
	if i == nil {
		return 0
	}
	return len(i.Value) + len(i.Name)
}
