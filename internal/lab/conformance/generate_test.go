package conformance

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// generator makes values of schemas: most are right, some are just wrong, some are hostile.
type generator struct {
	random *rand.Rand
	// names are those that were used before, so that requests meet resources that exist.
	names []string
	// versions are resource versions and continue tokens that the manager gave out.
	versions []string
}

const maxRemembered = 64

func (g *generator) remember(list *[]string, value string) {
	if value == "" {
		return
	}
	if len(*list) < maxRemembered {
		*list = append(*list, value)
		return
	}
	(*list)[g.random.IntN(len(*list))] = value
}

func (g *generator) chance(percent int) bool { return g.random.IntN(100) < percent }

func pick[T any](g *generator, from []T) T { return from[g.random.IntN(len(from))] }

// hostileStrings are what parsers trip over.
func hostileStrings() []string {
	return []string{
		"", " ", "\x00", "a\nb", "../../etc/passwd", "%2e%2e%2f", "'; DROP TABLE nodes; --", "<script>alert(1)</script>", "${jndi:ldap://x}", "{{7*7}}", "%s%n",
		strings.Repeat("a", 64), strings.Repeat("a", 254), strings.Repeat("ä", 1000), strings.Repeat("9", 400), "\u202e\u0000\ufeff", "\xff\xfe", "NaN", "-1", "0x10", "1e309", "null",
		"*", "**", "/", "//", "?", "#", "=", ",", "a=b=c", "in (", "!", "true", "0000-00-00T00:00:00Z", "9999-12-31T23:59:60Z", "::", "fe80::1%eth0", "255.255.255.256", "00:00:00:00:00:00",
	}
}

// text makes a string for a schema.
func (g *generator) text(schema *openapi3.Schema, field string) string {
	if g.chance(15) {
		return pick(g, hostileStrings())
	}
	if len(schema.Enum) > 0 && g.chance(90) {
		value, _ := pick(g, schema.Enum).(string)
		return value
	}
	if guess, ok := g.guess(field); ok && g.chance(85) {
		return guess
	}
	if schema.Format == "date-time" {
		return fmt.Sprintf("20%02d-%02d-%02dT%02d:00:00Z", g.random.IntN(99), g.random.IntN(13), g.random.IntN(32), g.random.IntN(25))
	}
	length := 1 + g.random.IntN(12)
	if schema.MaxLength != nil && g.chance(5) {
		length = int(*schema.MaxLength) + g.random.IntN(2)
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	var b strings.Builder
	for range min(length, 5000) {
		b.WriteByte(letters[g.random.IntN(len(letters))])
	}
	return b.String()
}

// guess knows what fits fields of these names, so that many requests get past the first check.
func (g *generator) guess(field string) (string, bool) {
	switch field {
	case "name", "subjectName", "adapter", "network", "role", "generalNode":
		return pick(g, g.names), true
	case "resourceVersion", "continue", "uid":
		if len(g.versions) == 0 || g.chance(50) {
			return "", true
		}
		return pick(g, g.versions), true
	case "mac":
		return fmt.Sprintf("02:00:00:00:%02x:%02x", g.random.IntN(256), g.random.IntN(256)), true
	case "virtualIPv4", "ipv4":
		return fmt.Sprintf("100.96.%d.%d", g.random.IntN(256), g.random.IntN(256)), true
	case "virtualIPv6", "ipv6":
		return fmt.Sprintf("fd96:c1f0::%x", g.random.IntN(1<<16)), true
	case "peerAddress":
		return pick(g, []string{"192.0.2.1", "2001:db8::1", "192.0.2.2"}), true
	case "localAddress":
		return pick(g, []string{"192.0.2.9", "2001:db8::9"}), true
	case "hosts", "host":
		return pick(g, []string{"host-a", "host-b.example.org"}), true
	case "services", "peers":
		return pick(g, g.names), true
	case "communities":
		return pick(g, []string{"64512:100", "no-export", "graceful-shutdown"}), true
	case "largeCommunities":
		return pick(g, []string{"64512:1:2", "4200000000:0:1"}), true
	case "ipv4Prefix":
		return pick(g, []string{"100.96.0.0/16", "10.0.0.0/29", "100.64.0.0/10"}), true
	case "ipv6Prefix":
		return "fd96:c1f0::/64", true
	case "domain":
		return "factory.example.internal", true
	case "ports":
		return pick(g, []string{"80", "1-65535", "554"}), true
	case "url":
		return "https://127.0.0.1:1/fleet.git", true
	case "labelSelector":
		return pick(g, []string{"a=b", "a in (b,c),!d", "a!=b"}), true
	case "fieldSelector":
		return pick(g, []string{"metadata.name=a", "spec.network!=b", "status.phase=Up"}), true
	case "from", "to":
		return pick(g, []string{"node/", "generalnode/"}) + pick(g, g.names), true
	}
	return "", false
}

// value makes a JSON value for a schema. Depth bounds recursion.
func (g *generator) value(schema *openapi3.Schema, field string, depth int) any {
	if g.chance(4) {
		return pick(g, []any{nil, true, -1, 1e300, "x", []any{}, map[string]any{}, []any{nil}, map[string]any{"": nil}, strings.Repeat("[", 3)})
	}
	if depth > 8 {
		return nil
	}
	switch {
	case schema.Type.Is("string"):
		return g.text(schema, field)
	case schema.Type.Is("boolean"):
		return g.chance(50)
	case schema.Type.Is("integer"), schema.Type.Is("number"):
		return g.number(schema)
	case schema.Type.Is("array"):
		items := []any{}
		for range g.random.IntN(4) {
			items = append(items, g.value(schema.Items.Value, field, depth+1))
		}
		if g.chance(1) && len(items) > 0 {
			for len(items) < 400 {
				items = append(items, items[0])
			}
		}
		return items
	}
	return g.object(schema, depth)
}

func (g *generator) number(schema *openapi3.Schema) any {
	if g.chance(10) {
		return pick(g, []any{0, -1, int64(1) << 62, -(int64(1) << 62), 0.5, 1e18, "7"})
	}
	low, high := 0.0, 100000.0
	if schema.Min != nil {
		low = *schema.Min
	}
	if schema.Max != nil {
		high = *schema.Max
	}
	return int64(low) + g.random.Int64N(max(1, int64(high-low)+1))
}

func (g *generator) object(schema *openapi3.Schema, depth int) map[string]any {
	object := map[string]any{}
	required := map[string]bool{}
	for _, name := range schema.Required {
		required[name] = true
	}
	for name, property := range schema.Properties {
		if (required[name] && g.chance(98)) || (!required[name] && g.chance(35)) {
			object[name] = g.value(property.Value, name, depth+1)
		}
	}
	if further := schema.AdditionalProperties.Schema; further != nil {
		for range g.random.IntN(3) {
			object[pick(g, []string{"site", "role", "cyphonic/prune", "a b", ""})] = g.value(further.Value, "", depth+1)
		}
	}
	if g.chance(3) {
		object[pick(g, []string{"unknown", "__proto__", "kind ", "Spec"})] = "x"
	}
	return object
}
