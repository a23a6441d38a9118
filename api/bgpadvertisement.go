package api

import (
	"slices"
	"strconv"
	"strings"
)

// Bounds of a BGP advertisement.
const (
	MaxCommunities     = 32
	MaxASPathPrepend   = 16
	MaxAdvertisedNames = 64
)

// CommunityNames are the well-known communities by their names, with their values (RFC 1997, RFC 3765, RFC 8326).
func CommunityNames() map[string]uint32 {
	return map[string]uint32{
		"graceful-shutdown":   0xFFFF0000,
		"no-export":           0xFFFFFF01,
		"no-advertise":        0xFFFFFF02,
		"no-export-subconfed": 0xFFFFFF03,
		"no-peer":             0xFFFFFF04,
	}
}

// ParseCommunity reads a community as in 64512:100, or its well-known name.
func ParseCommunity(text string) (uint32, bool) {
	if value, ok := CommunityNames()[text]; ok {
		return value, true
	}
	numbers, ok := parseNumbers(text, 2, 16)
	if !ok {
		return 0, false
	}
	return numbers[0]<<16 | numbers[1], true
}

// ParseLargeCommunity reads a large community as in 4200000000:1:2.
func ParseLargeCommunity(text string) (community [3]uint32, ok bool) {
	numbers, ok := parseNumbers(text, len(community), 32)
	copy(community[:], numbers)
	return community, ok
}

// parseNumbers reads count decimal numbers with colons between them.
func parseNumbers(text string, count, bits int) ([]uint32, bool) {
	parts := strings.Split(text, ":")
	if len(parts) != count {
		return nil, false
	}
	numbers := make([]uint32, count)
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, bits)
		if err != nil || part != strconv.FormatUint(n, 10) { // one way to write each
			return nil, false
		}
		numbers[i] = uint32(n)
	}
	return numbers, true
}

func (*BGPAdvertisement) KindName() string     { return "BGPAdvertisement" }
func (a *BGPAdvertisement) Meta() *ObjectMeta  { return &a.Metadata }
func (a *BGPAdvertisement) SetType()           { a.ApiVersion, a.Kind = Version, a.KindName() }
func (a *BGPAdvertisement) SpecPart() any      { return &a.Spec }
func (a *BGPAdvertisement) StatusPart() any    { return &a.Status }
func (a *BGPAdvertisement) SetStatus(o Object) { a.Status = o.(*BGPAdvertisement).Status }

// References returns the services and the peers that it names.
func (a *BGPAdvertisement) References() []Reference {
	var references []Reference
	for i, name := range a.Spec.Services {
		references = append(references, Reference{"CloudService", name, string(pointer("/spec/services").index(i))})
	}
	for i, name := range a.Spec.Peers {
		references = append(references, Reference{"BGPPeer", name, string(pointer("/spec/peers").index(i))})
	}
	return references
}

// OnHost says whether the speaker of a host announces what it is about.
func (a *BGPAdvertisement) OnHost(host string) bool { return onHost(a.Spec.Hosts, host) }

// Default has nothing to fill in: no names are all.
func (a *BGPAdvertisement) Default() {}

// Validate checks names and attributes.
func (a *BGPAdvertisement) Validate() FieldErrors {
	var found faults
	validateEnvelope(a, a.ApiVersion, a.Kind, &found)
	spec := &a.Spec
	validateNames(spec.Services, "/spec/services", &found)
	validateNames(spec.Peers, "/spec/peers", &found)
	validateHosts(spec.Hosts, "/spec/hosts", &found)
	validateCommunities(spec.Communities, "/spec/communities", &found, func(text string) bool { _, ok := ParseCommunity(text); return ok },
		"two numbers of at most 65535 as in 64512:100, or one of graceful-shutdown, no-advertise, no-export, no-export-subconfed, no-peer")
	validateCommunities(spec.LargeCommunities, "/spec/largeCommunities", &found, func(text string) bool { _, ok := ParseLargeCommunity(text); return ok },
		"three numbers of at most 4294967295 as in 4200000000:1:2")
	validateRange(spec.LocalPreference, 0, 1<<32-1, "/spec/localPreference", &found)
	validateRange(spec.Med, 0, 1<<32-1, "/spec/med", &found)
	validateRange(spec.AsPathPrepend, 0, MaxASPathPrepend, "/spec/asPathPrepend", &found)
	validateConditions(a.Status.Conditions, &found)
	return found.list
}

// validateNames checks a list of names of resources.
func validateNames(names []string, at pointer, found *faults) {
	if len(names) > MaxAdvertisedNames {
		found.add(at, "has %d names, at most %d are possible", len(names), MaxAdvertisedNames)
	}
	for i, name := range names {
		requireName(name, at.index(i), found)
		if slices.Contains(names[:i], name) {
			found.add(at.index(i), "is given twice")
		}
	}
}

func validateCommunities(texts []string, at pointer, found *faults, valid func(string) bool, form string) {
	if len(texts) > MaxCommunities {
		found.add(at, "has %d communities, at most %d are possible", len(texts), MaxCommunities)
	}
	for i, text := range texts {
		switch {
		case !valid(text):
			found.add(at.index(i), "is %s, must be %s", show(text), form)
		case slices.Contains(texts[:i], text):
			found.add(at.index(i), "is given twice")
		}
	}
}
