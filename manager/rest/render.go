package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/cache"
)

// computed says of a kind that parts of its status are worked out on reading.
func computed(kind api.Kind) bool {
	switch kind.Name {
	case "Network", "EnrollmentToken", "APIToken":
		return true
	}
	return false
}

// appendItem appends a resource of the cache as clients see it, on one line.
// With drained the general node is shown as disabled.
func (s *Server) appendItem(ctx context.Context, dst []byte, kind api.Kind, item *cache.Item, drained bool) ([]byte, error) {
	if !drained && !computed(kind) {
		if out, ok := spliceRevision(dst, kind, item.Value, item.Revision); ok {
			return out, nil
		}
	}
	o, err := s.objectOf(ctx, kind, item)
	if err != nil {
		return nil, err
	}
	return appendObject(dst, o, drained)
}

// objectOf decodes a resource of the cache, with what is worked out on reading.
func (s *Server) objectOf(ctx context.Context, kind api.Kind, item *cache.Item) (api.Object, error) {
	o := kind.New()
	if err := json.Unmarshal(item.Value, o); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", kind.Name, item.Name, err)
	}
	o.Meta().ResourceVersion = formatRevision(item.Revision)
	return o, s.observed(ctx, o)
}

func appendObject(dst []byte, o api.Object, drained bool) ([]byte, error) {
	if g, ok := o.(*api.GeneralNode); ok && drained {
		g.Spec.Disabled = true
	}
	line, err := encodeLine(o)
	if err != nil {
		return nil, err
	}
	return append(dst, bytes.TrimSuffix(line, []byte("\n"))...), nil
}

// spliceRevision writes the revision into a resource without decoding it, which
// is what most of the time of a list would go into. It does so only if the value
// begins as this manager writes them; ok is false for any other.
func spliceRevision(dst []byte, kind api.Kind, value []byte, revision int64) (out []byte, ok bool) {
	head := `{"apiVersion":"` + api.Version + `","kind":"` + kind.Name + `","metadata":{`
	if len(value) <= len(head) || string(value[:len(head)]) != head || value[len(head)] != '"' {
		return dst, false
	}
	if bytes.IndexByte(value, '\n') >= 0 || bytes.Contains(value, []byte(`"resourceVersion"`)) {
		return dst, false
	}
	dst = append(dst, head...)
	dst = append(dst, `"resourceVersion":"`...)
	dst = strconv.AppendInt(dst, revision, 10)
	dst = append(dst, `",`...)
	return append(dst, value[len(head):]...), true
}

// appendEvent appends the line of a watch event whose object is one line.
func appendEvent(dst []byte, kind api.WatchEventType, object []byte) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","object":`...)
	dst = append(dst, object...)
	return append(dst, "}\n"...)
}
