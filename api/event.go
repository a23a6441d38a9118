package api

// MaxLongName bounds the names of kinds that only the manager writes.
const MaxLongName = 253

func (*Event) KindName() string    { return "Event" }
func (e *Event) Meta() *ObjectMeta { return &e.Metadata }
func (e *Event) SetType()          { e.ApiVersion, e.Kind = Version, e.KindName() }

// SpecPart returns what the event is about.
func (e *Event) SpecPart() any { return &e.Regarding }

// StatusPart returns nothing: an event has no status.
func (e *Event) StatusPart() any { return nil }

// SetStatus does nothing: an event has no status.
func (e *Event) SetStatus(Object) {}

// References returns nothing: an event outlives what it is about.
func (e *Event) References() []Reference { return nil }

// Default has nothing to fill in.
func (e *Event) Default() {}

// Validate refuses: only the manager makes events.
func (e *Event) Validate() FieldErrors {
	return FieldErrors{{Pointer: "/kind", Detail: "an Event is made by the manager alone"}}
}
