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

// Change is one change. For BOOKMARK the object has only its resourceVersion.
type Change struct {
	Type   api.WatchEventType
	Object api.Object
}

// Watch is an open stream of changes. It is for one goroutine; Close may be called from any.
type Watch struct {
	kind    api.Kind
	body    io.Closer
	scanner *bufio.Scanner
	stopped func() error // why the caller does not want the stream any more; nil while he does
}

// WatchOptions choose what a watch shows; the zero value is everything.
type WatchOptions struct {
	Labels          string // label selector, as in ListOptions
	Fields          string // field selector
	ResourceVersion string // only changes after it; "": begin with an ADDED for each resource there is and a BOOKMARK
}

// ErrWatchEnded says that the manager closed the stream in order: watch again from the last resourceVersion seen.
var ErrWatchEnded = errors.New("the watch has ended")

// Watch opens a stream of the changes of a kind. It ends when ctx does. It is not opened again when it breaks; Follow does that.
func (c *Client) Watch(ctx context.Context, kind api.Kind, o WatchOptions) (*Watch, error) {
	of := operationsOf(kind.Name)
	if of.list == nil {
		return nil, fmt.Errorf("there are no operations for the kind %q", kind.Name)
	}
	params := listParams{Watch: true, LabelSelector: o.Labels, FieldSelector: o.Fields, ResourceVersion: o.ResourceVersion}
	return c.watch(ctx, kind, func(server string) (*http.Request, error) { return of.list(server, &params) })
}

// WatchAdapterGeneralNodes is Watch for the general nodes of an adapter.
func (c *Client) WatchAdapterGeneralNodes(ctx context.Context, adapter, resourceVersion string) (*Watch, error) {
	kind, _ := api.KindNamed("GeneralNode")
	return c.watch(ctx, kind, func(server string) (*http.Request, error) {
		return NewListAdapterGeneralNodesRequest(server, adapter, &api.ListAdapterGeneralNodesParams{Watch: true, ResourceVersion: resourceVersion})
	})
}

func (c *Client) watch(ctx context.Context, kind api.Kind, build request) (*Watch, error) {
	response, err := c.open(ctx, func(server string) (*http.Request, error) { return given(build(server)) })
	if err != nil {
		return nil, err
	}
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(make([]byte, 0, 4096), maxEvent)
	return &Watch{kind: kind, body: response.Body, scanner: scanner, stopped: ctx.Err}, nil
}

// Next waits for the next event. An ERROR event is returned as a *ProblemError, the orderly end as ErrWatchEnded; after an error there are no more events.
func (w *Watch) Next() (Change, error) {
	if !w.scanner.Scan() {
		err := w.scanner.Err()
		if err == nil {
			err = w.stopped() // the server may have ended the stream in order by then
		}
		if err != nil {
			return Change{}, fmt.Errorf("watch %s: %w", w.kind.Plural, err)
		}
		return Change{}, ErrWatchEnded
	}
	var line api.WatchEvent
	if err := json.Unmarshal(w.scanner.Bytes(), &line); err != nil {
		return Change{}, fmt.Errorf("watch %s: %w", w.kind.Plural, err)
	}
	if line.Type == api.WatchEventTypeERROR {
		var problem api.Problem
		if err := json.Unmarshal(line.Object, &problem); err != nil {
			return Change{}, fmt.Errorf("watch %s: %w", w.kind.Plural, err)
		}
		return Change{}, &ProblemError{Problem: problem}
	}
	event := Change{Type: line.Type, Object: w.kind.New()}
	if err := json.Unmarshal(line.Object, event.Object); err != nil {
		return Change{}, fmt.Errorf("watch %s: %w", w.kind.Plural, err)
	}
	return event, nil
}

// Close ends the stream.
func (w *Watch) Close() error { return w.body.Close() }
