// Package events records what happened to resources for people who ask why:
// an address was allocated, a device went down, a deletion waits for others.
//
// An event about the same thing that happens again is counted, not written
// again. Events go by themselves after a day, and they may be lost: they are
// not the audit log, and nothing may depend on them. The package must not know
// HTTP, nor how resources are written.
//
// events.go has the form of events and reads them, recorder.go writes them,
// tokens.go notices what happens to tokens.
package events

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Kind is the kind of events.
const Kind = "Event"

// note is what makes an event the same as an earlier one.
type note struct {
	regarding       api.ObjectReference
	network         string
	kind            api.EventType
	reason, message string
}

// id is the last part of an event's name and key.
func (n note) id() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{n.regarding.Uid, string(n.kind), n.reason, n.message}, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// name is the name of the event: kind, name and identifier of what happened.
func (n note) name() string {
	return strings.ToLower(n.regarding.Kind) + "." + n.regarding.Name + "." + n.id()
}

func (n note) key() (string, bool) {
	kind, ok := api.KindNamed(n.regarding.Kind)
	if !ok {
		return "", false
	}
	return keyspace.Event(kind.Plural, n.regarding.Name, n.id()), true
}

// KeyOf returns where the event of a name is stored; ok is false if no event
// can have that name.
func KeyOf(name string) (key string, ok bool) {
	parts := strings.Split(name, ".")
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" || strings.Contains(name, "/") {
		return "", false
	}
	for _, kind := range api.Kinds() {
		if strings.ToLower(kind.Name) == parts[0] {
			return keyspace.Event(kind.Plural, parts[1], parts[2]), true
		}
	}
	return "", false
}

// Decode reads an event as the store holds it.
func Decode(e store.Entry) (*api.Event, error) {
	event := new(api.Event)
	if err := json.Unmarshal(e.Value, event); err != nil {
		return nil, fmt.Errorf("decode %s: %w", e.Key, err)
	}
	event.Metadata.ResourceVersion = strconv.FormatInt(e.Revision, 10)
	return event, nil
}

// Get reads the event of a name; the error wraps store.ErrNotFound if there is
// none.
func Get(ctx context.Context, s store.Store, name string) (*api.Event, error) {
	key, ok := KeyOf(name)
	if !ok {
		return nil, fmt.Errorf("event %q: %w", name, store.ErrNotFound)
	}
	entry, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	return Decode(entry)
}

// Page is a part of the list of events.
type Page struct {
	Events   []*api.Event
	Revision int64  // that the list shows
	After    string // key of the last event; for the next page
	More     bool
}

// List reads events in the order of their keys: by plural of the kind, name and
// identifier. regarding restricts the list to one resource, if its kind is not
// empty. o.After is the After of the page before, o.Revision its Revision.
func List(ctx context.Context, s store.Store, regarding api.ObjectReference, o store.ListOptions) (Page, error) {
	prefix := keyspace.EventsPrefix
	if regarding.Kind != "" {
		kind, ok := api.KindNamed(regarding.Kind)
		if !ok {
			return Page{}, fmt.Errorf("events about a %s: %w", regarding.Kind, store.ErrNotFound)
		}
		prefix = keyspace.EventsAbout(kind.Plural, regarding.Name)
	}
	listing, err := s.List(ctx, prefix, o)
	if err != nil {
		return Page{}, err
	}
	page := Page{Revision: listing.Revision, More: listing.More}
	for _, entry := range listing.Entries {
		event, err := Decode(entry)
		if err != nil {
			return Page{}, err
		}
		page.Events, page.After = append(page.Events, event), entry.Key
	}
	return page, nil
}

// Change is an event that came, changed or went.
type Change struct {
	Type store.EventType
	// Event is the event after the change, or, if it went, before it where
	// that is known, else nil.
	Event *api.Event
	Name  string
}

// Watcher delivers events as they happen. It is used by one goroutine.
type Watcher struct{ inner store.Watcher }

// Watch delivers all changes of events after a revision.
func Watch(ctx context.Context, s store.Store, after int64) (*Watcher, error) {
	inner, err := s.Watch(ctx, keyspace.EventsPrefix, after)
	if err != nil {
		return nil, err
	}
	return &Watcher{inner}, nil
}

// Next waits for changes; see store.Watcher. revision is that up to which all
// have been delivered.
func (w *Watcher) Next(ctx context.Context) (changes []Change, revision int64, err error) {
	batch, err := w.inner.Next(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range batch.Events {
		plural, name, id, ok := keyspace.ParseEvent(e.Entry.Key)
		kind, known := api.KindOfPlural(plural)
		if !ok || !known {
			continue
		}
		entry := e.Entry
		if e.Type == store.EventDelete {
			entry = e.Previous
		}
		c := Change{Type: e.Type, Name: strings.ToLower(kind.Name) + "." + name + "." + id}
		if entry.Key != "" {
			if c.Event, err = Decode(entry); err != nil {
				return nil, 0, err
			}
			c.Event.Metadata.ResourceVersion = strconv.FormatInt(e.Entry.Revision, 10)
		}
		changes = append(changes, c)
	}
	return changes, batch.Revision, nil
}

// Close ends the watch.
func (w *Watcher) Close() { w.inner.Close() }
