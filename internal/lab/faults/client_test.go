package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/lab/control"
)

// session speaks to one server without repeating anything: a history must know what was sent once.
type session struct {
	server string
	token  string
	http   *http.Client
}

const requestTimeout = 8 * time.Second

func newSession(p *control.Plane, server string) *session {
	return &session{server: server, token: p.Token(), http: &http.Client{Transport: p.Transport(), Timeout: requestTimeout}}
}

func (s *session) close() { s.http.CloseIdleConnections() }

// reply is what came back; status 0 means that nobody knows what happened.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (s *session) do(ctx context.Context, method, path, ifMatch string, body any) reply {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			panic(err) // bodies are resources
		}
	}
	// What HTTP/2 sends again by itself is what a server that goes away has said it did not process (RFC 9113, section 6.8).
	request, err := http.NewRequestWithContext(ctx, method, s.server+path, bytes.NewReader(content))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Content-Type", "application/json")
	if ifMatch != "" {
		request.Header.Set("If-Match", `"`+ifMatch+`"`)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return reply{body: []byte(err.Error())}
	}
	defer response.Body.Close()
	content, err = io.ReadAll(io.LimitReader(response.Body, 32<<20))
	if err != nil {
		return reply{body: []byte(err.Error())}
	}
	return reply{status: response.StatusCode, header: response.Header, body: content}
}

// stale says that the answer admits to be of the past.
func (r reply) stale() bool { return r.header.Get("Cyphonic-Stale-Since") != "" }

const valueAnnotation = "test/value"

// register is a resource that holds a value.
func register(name, value string) *api.Role {
	r := &api.Role{Metadata: api.ObjectMeta{Name: name, Annotations: map[string]string{valueAnnotation: value}}}
	r.SetType()
	r.Spec.Rules = []api.RoleRule{{Verbs: []string{"get"}, Kinds: []string{"Network"}}}
	return r
}

// valueOf reads the value of a register and its version.
func valueOf(body []byte) (value, version string, err error) {
	var r api.Role
	if err := json.Unmarshal(body, &r); err != nil {
		return "", "", err
	}
	return r.Metadata.Annotations[valueAnnotation], r.Metadata.ResourceVersion, nil
}

// follow watches the registers from a version on (empty: from the beginning) and reports values; the empty one means that the register is gone.
func (s *session) follow(ctx context.Context, version *string, report func(name, value string)) error {
	query := "?watch=true"
	if *version != "" {
		query += "&resourceVersion=" + *version
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server+"/api/v1/roles"+query, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	response, err := (&http.Client{Transport: s.http.Transport}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusGone {
		*version = ""
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var line struct {
			Type   string
			Object api.Role
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return err
		}
		switch line.Type {
		case "ADDED", "MODIFIED":
			report(line.Object.Metadata.Name, line.Object.Metadata.Annotations[valueAnnotation])
		case "DELETED":
			report(line.Object.Metadata.Name, "")
		case "ERROR":
			*version = ""
			return fmt.Errorf("watch: %s", lines.Bytes())
		}
		if line.Type != "ERROR" && line.Object.Metadata.ResourceVersion != "" {
			*version = line.Object.Metadata.ResourceVersion
		}
	}
	return lines.Err()
}
