package api

func (*Adapter) KindName() string     { return "Adapter" }
func (a *Adapter) Meta() *ObjectMeta  { return &a.Metadata }
func (a *Adapter) SetType()           { a.ApiVersion, a.Kind = Version, a.KindName() }
func (a *Adapter) SpecPart() any      { return &a.Spec }
func (a *Adapter) StatusPart() any    { return &a.Status }
func (a *Adapter) SetStatus(o Object) { a.Status = o.(*Adapter).Status }

// References returns the network.
func (a *Adapter) References() []Reference {
	return []Reference{{"Network", a.Spec.Network, "/spec/network"}}
}

// Default has nothing to fill in.
func (a *Adapter) Default() {}

// Validate checks the adapter by itself.
func (a *Adapter) Validate() FieldErrors {
	var found faults
	validateEnvelope(a, a.ApiVersion, a.Kind, &found)
	requireName(a.Spec.Network, "/spec/network", &found)
	validatePasswordHash(a.Spec.Authentication.PasswordHash, "/spec/authentication/passwordHash", &found)
	validatePhase(a.Status.Phase, &found)
	validateConditions(a.Status.Conditions, &found)
	return found.list
}
