package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
)

// Event is one change. For BOOKMARK the object has only its resourceVersion.
type Event struct {
	Type   api.WatchEventType
	Object api.Object
}

// Watch is an open stream of changes. It is for one goroutine; Close may be called from any.
type Watch struct {
	kind    api.Kind
	body    io.Closer
	scanner *bufio.Scanner
}

// ErrWatchEnded says that the manager closed the stream in order: watch again from the last resourceVersion seen.
var ErrWatchEnded = errors.New("the watch has ended")

// Watch opens a stream of the changes of a kind after resourceVersion; if that is empty it begins with an ADDED for each resource and a BOOKMARK.
// It ends when ctx does.
func (c *Client) Watch(ctx context.Context, kind api.Kind, resourceVersion string) (*Watch, error) {
	request, err := operationsOf(kind.Name).list(c.server, &listParams{Watch: true, ResourceVersion: resourceVersion})
	return c.watch(ctx, kind, request, err)
}

// WatchAdapterGeneralNodes is Watch for the general nodes of an adapter.
func (c *Client) WatchAdapterGeneralNodes(ctx context.Context, adapter, resourceVersion string) (*Watch, error) {
	kind, _ := api.KindNamed("GeneralNode")
	request, err := NewListAdapterGeneralNodesRequest(c.server, adapter, &api.ListAdapterGeneralNodesParams{Watch: true, ResourceVersion: resourceVersion})
	return c.watch(ctx, kind, request, err)
}

func (c *Client) watch(ctx context.Context, kind api.Kind, request *http.Request, err error) (*Watch, error) {
	if err != nil {
		return nil, err
	}
	response, err := c.send(ctx, request)
	if err != nil {
		return nil, err
	}
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(make([]byte, 0, 4096), maxEvent)
	return &Watch{kind: kind, body: response.Body, scanner: scanner}, nil
}

// Next waits for the next event. An ERROR event is returned as a *ProblemError, the orderly end as ErrWatchEnded; after an error there are no more events.
func (w *Watch) Next() (Event, error) {
	if !w.scanner.Scan() {
		if err := w.scanner.Err(); err != nil {
			return Event{}, fmt.Errorf("watch %s: %w", w.kind.Plural, err)
		}
		return Event{}, ErrWatchEnded
	}
	var line api.WatchEvent
	if err := json.Unmarshal(w.scanner.Bytes(), &line); err != nil {
		return Event{}, fmt.Errorf("watch %s: %w", w.kind.Plural, err)
	}
	if line.Type == api.WatchEventTypeERROR {
		var problem api.Problem
		if err := json.Unmarshal(line.Object, &problem); err != nil {
			return Event{}, fmt.Errorf("watch %s: %w", w.kind.Plural, err)
		}
		return Event{}, &ProblemError{problem}
	}
	event := Event{Type: line.Type, Object: w.kind.New()}
	if err := json.Unmarshal(line.Object, event.Object); err != nil {
		return Event{}, fmt.Errorf("watch %s: %w", w.kind.Plural, err)
	}
	return event, nil
}

// Close ends the stream.
func (w *Watch) Close() error { return w.body.Close() }
