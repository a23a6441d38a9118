package audit

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/cyphonic/cyphonic/api"
)

// redacted stands for a secret; redactedChange for one that is another than before, which is worth knowing.
const (
	redacted       = "redacted"
	redactedChange = "redacted, changed"
)

// Objects returns a resource before and after a change as a record holds them: without secrets, without the bookkeeping of field
// managers, and with what differs only if all is too large. nil is no resource.
func Objects(before, after api.Object) (b, a json.RawMessage, truncated bool) {
	old, new := plain(before), plain(after)
	secrets := map[string]any{}
	clean(old, "", secrets, nil)
	clean(new, "", map[string]any{}, secrets)
	b, a = encode(old), encode(new)
	if len(b)+len(a) <= maxObjectBytes {
		return b, a, false
	}
	if old != nil && new != nil {
		reduce(old, new, 0)
		if b, a = encode(old), encode(new); len(b)+len(a) <= maxObjectBytes {
			return b, a, true
		}
	}
	return nil, nil, true
}

func plain(o api.Object) map[string]any {
	if o == nil || reflect.ValueOf(o).IsNil() {
		return nil
	}
	text, err := json.Marshal(o)
	if err != nil {
		return map[string]any{"unreadable": true}
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return map[string]any{"unreadable": true}
	}
	if meta, ok := m["metadata"].(map[string]any); ok {
		delete(meta, "managedFields")
	}
	return m
}

func encode(m map[string]any) json.RawMessage {
	if m == nil {
		return nil
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil
	}
	return text
}

// secretMember says whether a member of that name holds a secret or its hash.
func secretMember(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"password", "token", "secret", "privatekey", "passphrase", "credential"} {
		if strings.Contains(name, part) {
			return name != "secretname" && !strings.HasSuffix(name, "timestamp")
		}
	}
	return false
}

// userinfo is what stands before the host in a URL: user and password, or a token.
func userinfo() *regexp.Regexp {
	return regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^/?#\s@]*)@`)
}

// cleanText removes passwords and tokens from URLs. The user of ssh is no secret, and says which account is used.
func cleanText(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	return userinfo().ReplaceAllStringFunc(s, func(match string) string {
		scheme, rest, _ := strings.Cut(match, "://")
		if !strings.Contains(rest, ":") && strings.Contains(strings.ToLower(scheme), "ssh") {
			return match
		}
		return scheme + "://" + redacted + "@"
	})
}

// clean replaces the secrets in a JSON value, below path. secrets collects what they were; was is what they were in the version
// before.
func clean(v any, path string, secrets, was map[string]any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			at := path + "/" + name
			if !secretMember(name) {
				v[name] = clean(value, at, secrets, was)
				continue
			}
			secrets[at] = value
			v[name] = redacted
			if before, ok := was[at]; ok && !reflect.DeepEqual(before, value) {
				v[name] = redactedChange
			}
		}
	case []any:
		for i := range v {
			v[i] = clean(v[i], path+"/"+strconv.Itoa(i), secrets, was)
		}
	case string:
		return cleanText(v)
	}
	return v
}

// reduce removes what is the same in both, but for what says which resource it is.
func reduce(old, new map[string]any, depth int) {
	for name, value := range new {
		was, had := old[name]
		if !had || (depth == 0 && (name == "apiVersion" || name == "kind")) || (depth == 1 && (name == "name" || name == "uid")) {
			continue
		}
		o, isOld := was.(map[string]any)
		n, isNew := value.(map[string]any)
		switch {
		case isOld && isNew && (depth == 0 || !reflect.DeepEqual(o, n)):
			reduce(o, n, depth+1)
		case reflect.DeepEqual(was, value):
			delete(old, name)
			delete(new, name)
		}
	}
}
