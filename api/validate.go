package api

import (
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Bounds of what every resource carries.
const (
	MaxName             = 63  // a DNS label, RFC 1035 section 2.3.4
	MaxFQDN             = 253 // as text without the final dot, RFC 1035 section 2.3.4
	MaxLabels           = 32
	MaxLabelValue       = 63
	MaxAnnotations      = 32
	MaxAnnotationValue  = 4096
	MaxConditions       = 16
	MaxFinalizers       = 16
	MaxReason           = 256 // characters of a device's reason
	MaxMessage          = maxConditionMessage
	maxConditionType    = 64
	maxConditionMessage = 1024
	maxPasswordHash     = 256
)

// validateEnvelope checks apiVersion, kind and metadata.
func validateEnvelope(o Object, apiVersion, kind string, found *faults) {
	if apiVersion != Version {
		found.add("/apiVersion", "is %s, must be %q", show(apiVersion), Version)
	}
	if kind != o.KindName() {
		found.add("/kind", "is %s, must be %q", show(kind), o.KindName())
	}
	meta := o.Meta()
	requireName(meta.Name, "/metadata/name", found)
	validateMap(meta.Labels, MaxLabels, MaxLabelValue, "/metadata/labels", found)
	validateMap(meta.Annotations, MaxAnnotations, MaxAnnotationValue, "/metadata/annotations", found)
	validateFinalizers(meta.Finalizers, found)
	if status := o.StatusPart(); status != nil {
		validateBounds(reflect.ValueOf(status), "/status", found)
	}
}

func validateFinalizers(finalizers []string, found *faults) {
	const at = pointer("/metadata/finalizers")
	if len(finalizers) > MaxFinalizers {
		found.add(at, "has %d entries, at most %d are possible", len(finalizers), MaxFinalizers)
	}
	for i, finalizer := range finalizers {
		if !labelKey(finalizer) {
			found.add(at.index(i), "is no name: up to %d letters, digits, '-', '_', '.', '/', with a letter or digit at both ends", MaxName)
		}
		if slices.Contains(finalizers[:i], finalizer) {
			found.add(at.index(i), "is given twice")
		}
	}
}

func validateMap(values map[string]string, maxEntries, maxValue int, at pointer, found *faults) {
	if len(values) > maxEntries {
		found.add(at, "has %d entries, at most %d are possible", len(values), maxEntries)
	}
	for _, key := range sortedKeys(values) {
		if !labelKey(key) {
			found.add(at.key(key), "is no key: up to %d letters, digits, '-', '_', '.', '/', with a letter or digit at both ends", MaxName)
		}
		if len(values[key]) > maxValue {
			found.add(at.key(key), "is %d bytes long, at most %d are possible", len(values[key]), maxValue)
		}
	}
}

// requireName checks the name of a resource or the mandatory name of another one.
func requireName(name string, at pointer, found *faults) {
	switch {
	case name == "":
		found.add(at, "is missing")
	case !isLabel(name):
		found.add(at, "is %s, must be a DNS label: up to %d lower-case letters, digits and '-', with a letter or digit at both ends", show(name), MaxName)
	}
}

// validateFQDN checks a DNS name; empty is none.
func validateFQDN(name string, at pointer, found *faults) {
	if name == "" || (len(name) <= MaxFQDN && isDomain(name)) {
		return
	}
	found.add(at, "is %s, must be a DNS name in lower case without a final dot, as in camera.example.internal", show(name))
}

// validateAddress checks an IP address of one family (4 or 6) in canonical form; empty is none.
func validateAddress(text string, family int, at pointer, found *faults) (netip.Addr, bool) {
	if text == "" {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(text)
	switch {
	case err != nil || address.Zone() != "" || address.Is4In6() || address.Is4() != (family == 4):
		found.add(at, "is %s, must be an IPv%d address", show(text), family)
		return netip.Addr{}, false
	case address.IsUnspecified() || address.IsMulticast():
		found.add(at, "is %s, which no device can have", show(text))
		return netip.Addr{}, false
	}
	return address, true
}

func validateConditions(conditions []Condition, found *faults) {
	const at = pointer("/status/conditions")
	if len(conditions) > MaxConditions {
		found.add(at, "has %d entries, at most %d are possible", len(conditions), MaxConditions)
	}
	for i, c := range conditions {
		if c.Type == "" || len(c.Type) > maxConditionType {
			found.add(at.index(i).key("type"), "must have 1 to %d bytes", maxConditionType)
		}
		if !c.Status.Valid() {
			found.add(at.index(i).key("status"), "is %s, must be one of True, False, Unknown", show(c.Status))
		}
		if len(c.Message) > maxConditionMessage {
			found.add(at.index(i).key("message"), "is %d bytes long, at most %d are possible", len(c.Message), maxConditionMessage)
		}
	}
}

func validatePhase(phase DevicePhase, found *faults) {
	if phase != "" && !phase.Valid() {
		found.add("/status/phase", "is %s, must be one of Absent, Connecting, Authenticating, LoggingIn, Registering, Up, Down, Disabled, Failed", show(phase))
	}
}

// validatePasswordHash refuses what is evidently not a hash, above all a password in clear.
func validatePasswordHash(hash string, at pointer, found *faults) {
	if hash == "" {
		return
	}
	if len(hash) > maxPasswordHash || !argon2id().MatchString(hash) {
		found.add(at, "must be an argon2id hash as printed by `cyphonicctl hash-password`, never the password itself")
	}
}

// argon2id matches the PHC string format with the fixed parameter order of the reference implementation.
func argon2id() *regexp.Regexp {
	return regexp.MustCompile(`^\$argon2id\$v=\d{1,3}\$m=\d{1,10},t=\d{1,10},p=\d{1,3}\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{11,86}$`)
}

func isDomain(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

func isLabel(label string) bool {
	if label == "" || len(label) > MaxName {
		return false
	}
	for i, c := range []byte(label) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (c != '-' || i == 0 || i == len(label)-1) {
			return false
		}
	}
	return true
}

func labelKey(key string) bool {
	if key == "" || len(key) > MaxName {
		return false
	}
	for i, c := range []byte(key) {
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alphanumeric && (!strings.ContainsRune("-_./", rune(c)) || i == 0 || i == len(key)-1) {
			return false
		}
	}
	return true
}

func sortedKeys(values map[string]string) []string {
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
