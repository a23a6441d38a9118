package api

// Seconds that an enrolment token may be used for.
const (
	MinTokenTTLSeconds     = 60
	MaxTokenTTLSeconds     = 30 * 24 * 3600
	DefaultTokenTTLSeconds = 24 * 3600
)

func (*EnrollmentToken) KindName() string     { return "EnrollmentToken" }
func (t *EnrollmentToken) Meta() *ObjectMeta  { return &t.Metadata }
func (t *EnrollmentToken) SetType()           { t.ApiVersion, t.Kind = Version, t.KindName() }
func (t *EnrollmentToken) SpecPart() any      { return &t.Spec }
func (t *EnrollmentToken) StatusPart() any    { return &t.Status }
func (t *EnrollmentToken) SetStatus(o Object) { t.Status = o.(*EnrollmentToken).Status }

// References returns the node or adapter that may use the token.
func (t *EnrollmentToken) References() []Reference {
	return []Reference{{string(t.Spec.SubjectKind), t.Spec.SubjectName, "/spec/subjectName"}}
}

// Default chooses the time to live.
func (t *EnrollmentToken) Default() {
	if t.Spec.TtlSeconds == 0 {
		t.Spec.TtlSeconds = DefaultTokenTTLSeconds
	}
}

// Validate checks subject and time to live.
func (t *EnrollmentToken) Validate() FieldErrors {
	var found faults
	validateEnvelope(t, t.ApiVersion, t.Kind, &found)
	if !t.Spec.SubjectKind.Valid() {
		found.add("/spec/subjectKind", "is %s, must be Node or Adapter", show(t.Spec.SubjectKind))
	}
	requireName(t.Spec.SubjectName, "/spec/subjectName", &found)
	if t.Spec.TtlSeconds < MinTokenTTLSeconds || t.Spec.TtlSeconds > MaxTokenTTLSeconds {
		found.add("/spec/ttlSeconds", "is %d, must be within %d … %d", t.Spec.TtlSeconds, MinTokenTTLSeconds, MaxTokenTTLSeconds)
	}
	if t.Status.Phase != "" && !t.Status.Phase.Valid() {
		found.add("/status/phase", "is %s, must be one of Pending, Used, Expired", show(t.Status.Phase))
	}
	return found.list
}
