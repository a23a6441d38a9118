package api

func (*Replica) KindName() string    { return "Replica" }
func (r *Replica) Meta() *ObjectMeta { return &r.Metadata }
func (r *Replica) SetType()          { r.ApiVersion, r.Kind = Version, r.KindName() }
func (r *Replica) SpecPart() any     { return &r.Spec }
func (r *Replica) StatusPart() any   { return &r.Status }

// SetStatus copies the status of another replica.
func (r *Replica) SetStatus(o Object) { r.Status = o.(*Replica).Status }

// References returns nothing: a replica is what runs, not what shall be.
func (r *Replica) References() []Reference { return nil }

// Default has nothing to fill in.
func (r *Replica) Default() {}

// Validate refuses: a replica is there because it runs.
func (r *Replica) Validate() FieldErrors {
	return FieldErrors{{Pointer: "/kind", Detail: "a Replica is there while it runs and cannot be written: start or drain one instead"}}
}
