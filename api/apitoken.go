package api

// Seconds that an API token may be used for.
const (
	MinAPITokenTTLSeconds     = 60
	MaxAPITokenTTLSeconds     = 365 * 24 * 3600
	DefaultAPITokenTTLSeconds = 90 * 24 * 3600
	maxDescription            = 256
)

func (*APIToken) KindName() string     { return "APIToken" }
func (t *APIToken) Meta() *ObjectMeta  { return &t.Metadata }
func (t *APIToken) SetType()           { t.ApiVersion, t.Kind = Version, t.KindName() }
func (t *APIToken) SpecPart() any      { return &t.Spec }
func (t *APIToken) StatusPart() any    { return &t.Status }
func (t *APIToken) SetStatus(o Object) { t.Status = o.(*APIToken).Status }

// References returns nothing.
func (t *APIToken) References() []Reference { return nil }

// Default chooses the time to live.
func (t *APIToken) Default() {
	if t.Spec.TtlSeconds == 0 {
		t.Spec.TtlSeconds = DefaultAPITokenTTLSeconds
	}
}

// Validate checks the time to live and the rules.
func (t *APIToken) Validate() FieldErrors {
	var found faults
	validateEnvelope(t, t.ApiVersion, t.Kind, &found)
	if t.Spec.TtlSeconds < MinAPITokenTTLSeconds || t.Spec.TtlSeconds > MaxAPITokenTTLSeconds {
		found.add("/spec/ttlSeconds", "is %d, must be within %d … %d", t.Spec.TtlSeconds, MinAPITokenTTLSeconds, MaxAPITokenTTLSeconds)
	}
	if len(t.Spec.Description) > maxDescription {
		found.add("/spec/description", "is %d bytes long, at most %d are possible", len(t.Spec.Description), maxDescription)
	}
	validateRoleRules(t.Spec.Rules, "/spec/rules", &found)
	if t.Status.Phase != "" && !t.Status.Phase.Valid() {
		found.add("/status/phase", "is %s, must be Active or Expired", show(t.Status.Phase))
	}
	validateConditions(t.Status.Conditions, &found)
	return found.list
}
