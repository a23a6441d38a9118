package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
)

// answer is what every operation returns. The generated interface wants a type
// per operation and status; answer implements them all (operations.go).
type answer struct {
	status      int
	contentType string
	etag        string      // without quotes; empty: none
	header      http.Header // further headers; may be nil
	body        []byte
	stream      func(w http.ResponseWriter) error // instead of body
}

// answerObject answers with one resource.
func answerObject(status int, o api.Object) (*answer, error) {
	body, err := encodeLine(o)
	if err != nil {
		return nil, err
	}
	return &answer{status: status, contentType: "application/json", etag: o.Meta().ResourceVersion, body: body}, nil
}

func answerJSON(v any) (*answer, error) {
	body, err := encodeLine(v)
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, contentType: "application/json", body: body}, nil
}

func answerText(status int, text string) *answer {
	return &answer{status: status, contentType: "text/plain; charset=utf-8", body: []byte(text)}
}

// note sets a header of the answer.
func (a *answer) note(name, value string) {
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Set(name, value)
}

// encodeLine encodes on one line. Characters of HTML stay as they are: nothing
// here is put into a page.
func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	return b.Bytes(), nil
}

func (a *answer) write(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	maps.Copy(h, a.header)
	if a.stream != nil {
		return a.stream(w)
	}
	h.Set("Content-Type", a.contentType)
	if a.etag != "" {
		h.Set("ETag", `"`+a.etag+`"`)
	}
	w.WriteHeader(a.status)
	_, err := w.Write(a.body)
	return err
}
