package api

// Default ports of the services.
const (
	ManagerPort = 7440 // TCP, HTTPS
	ASPort      = 7441 // TCP, TLS 1.3
	NMSPort     = 7442 // UDP
	TRSPort     = 7443 // UDP
)

func (*CloudService) KindName() string     { return "CloudService" }
func (s *CloudService) Meta() *ObjectMeta  { return &s.Metadata }
func (s *CloudService) SetType()           { s.ApiVersion, s.Kind = Version, s.KindName() }
func (s *CloudService) SpecPart() any      { return &s.Spec }
func (s *CloudService) StatusPart() any    { return &s.Status }
func (s *CloudService) SetStatus(o Object) { s.Status = o.(*CloudService).Status }

// References returns none: services serve all networks.
func (s *CloudService) References() []Reference { return nil }

// Default chooses the port of the service and writes the addresses in their canonical form.
func (s *CloudService) Default() {
	if s.Spec.Port == 0 {
		s.Spec.Port = DefaultPort(s.Spec.Service)
	}
	s.Spec.Ipv4 = canonicalAddress(s.Spec.Ipv4)
	s.Spec.Ipv6 = canonicalAddress(s.Spec.Ipv6)
}

// DefaultPort returns the port that a service listens on unless told otherwise, 0 for an unknown service.
func DefaultPort(service ServiceName) int32 {
	switch service {
	case ServiceNameManager:
		return ManagerPort
	case ServiceNameAs:
		return ASPort
	case ServiceNameNms:
		return NMSPort
	case ServiceNameTrs:
		return TRSPort
	}
	return 0
}

// Validate checks service, addresses and port.
func (s *CloudService) Validate() FieldErrors {
	var found faults
	validateEnvelope(s, s.ApiVersion, s.Kind, &found)
	if !s.Spec.Service.Valid() {
		found.add("/spec/service", "is %s, must be one of as, nms, trs, manager", show(s.Spec.Service))
	}
	if s.Spec.Ipv4 == "" && s.Spec.Ipv6 == "" {
		found.add("/spec", "has neither ipv4 nor ipv6: give one address at least")
	}
	validateAddress(s.Spec.Ipv4, 4, "/spec/ipv4", &found)
	validateAddress(s.Spec.Ipv6, 6, "/spec/ipv6", &found)
	if s.Spec.Service.Valid() && (s.Spec.Port < 1 || s.Spec.Port > 65535) {
		found.add("/spec/port", "is %d, must be within 1 … 65535", s.Spec.Port)
	}
	validateConditions(s.Status.Conditions, &found)
	return found.list
}
