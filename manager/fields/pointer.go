package fields

import "strings"

// leavesOf takes the parts of a resource that are kept account of apart.
func leavesOf(o map[string]any) map[string]any {
	out := map[string]any{}
	if metadata, ok := o["metadata"].(map[string]any); ok {
		for _, part := range []string{"labels", "annotations", "finalizers"} {
			collect("/metadata/"+part, metadata[part], out)
		}
	}
	collect("/spec", o["spec"], out)
	return out
}

// collect adds the leaves of a value. Null and empty objects have none.
func collect(at string, value any, out map[string]any) {
	switch v := value.(type) {
	case nil:
	case map[string]any:
		for name, inner := range v {
			collect(at+"/"+escape(name), inner, out)
		}
	default:
		out[at] = v
	}
}

// set puts a value at a pointer and makes the objects on the way there.
func set(o map[string]any, pointer string, value any) {
	path := split(pointer)
	for _, name := range path[:len(path)-1] {
		inner, ok := o[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			o[name] = inner
		}
		o = inner
	}
	o[path[len(path)-1]] = copyValue(value)
}

// remove takes a value away, and the objects around it that are empty then.
func remove(o map[string]any, pointer string) {
	removePath(o, split(pointer))
}

func removePath(o map[string]any, path []string) {
	if len(path) == 1 {
		delete(o, path[0])
		return
	}
	inner, ok := o[path[0]].(map[string]any)
	if !ok {
		return
	}
	removePath(inner, path[1:])
	if len(inner) == 0 {
		delete(o, path[0])
	}
}

func deepCopy(o map[string]any) map[string]any {
	out := make(map[string]any, len(o))
	for name, value := range o {
		out[name] = copyValue(value)
	}
	return out
}

func copyValue(value any) any {
	switch v := value.(type) {
	case map[string]any:
		return deepCopy(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = copyValue(v[i])
		}
		return out
	}
	return value
}

func escape(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

func split(pointer string) []string {
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i := range parts {
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(parts[i], "~1", "/"), "~0", "~")
	}
	return parts
}
