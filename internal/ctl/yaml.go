package ctl

import (
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// encodeYAML is yaml.Marshal for what others wrote: characters that a YAML stream must not have in it (YAML 1.2, section 5.1) are escaped instead of refused.
func encodeYAML(value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var escaped strings.Builder
	for _, r := range string(text) { // they are in strings only
		if r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff {
			fmt.Fprintf(&escaped, `\u%04x`, r)
		} else {
			escaped.WriteRune(r)
		}
	}
	return yaml.JSONToYAML([]byte(escaped.String()))
}
