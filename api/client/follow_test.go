package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

// script answers one watch after the other: what to check of the request, and what to answer.
type script []struct {
	version string // resourceVersion that must be asked for
	status  int    // of an answer that is a problem; 0: the stream
	lines   []api.WatchEvent
	then    error // how the stream ends; nil: in order
	silent  bool  // it does not end at all
}

func (s script) serve(t *testing.T) (transportFunc, *int) {
	count := 0
	return func(r *http.Request) (*http.Response, error) {
		if count == len(s) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		step := s[count]
		count++
		if got := r.URL.Query().Get("resourceVersion"); got != step.version || r.URL.Query().Get("watch") != "true" {
			t.Errorf("watch %d asks %s, want resourceVersion %q", count, r.URL.RawQuery, step.version)
		}
		if step.status != 0 {
			return answerWith(step.status, `{"title":"x"}`), nil
		}
		var body strings.Builder
		for _, line := range step.lines {
			if err := json.NewEncoder(&body).Encode(line); err != nil {
				t.Error(err)
			}
		}
		end := step.then
		if end == nil {
			end = io.EOF
		}
		response := answerWith(200, "")
		response.Body = &endingBody{Reader: strings.NewReader(body.String()), end: end, silent: step.silent, closed: make(chan struct{})}
		return response, nil
	}, &count
}

// endingBody ends as it is told.
type endingBody struct {
	*strings.Reader
	end    error
	silent bool
	closed chan struct{}
}

func (b *endingBody) Read(p []byte) (int, error) {
	if n, err := b.Reader.Read(p); err == nil {
		return n, nil
	}
	if b.silent {
		<-b.closed
		return 0, errors.New("read on closed body")
	}
	return 0, b.end
}

func (b *endingBody) Close() error {
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
	return nil
}

func device(name, uid, version string) *api.Node {
	n := node(name, version)
	n.Metadata.Uid = uid
	return n
}

// followed runs Follow until the last expected change came, and returns the changes and states as text.
func followed(t *testing.T, s script, o FollowOptions, want []string) (got, states []string, err error) {
	t.Helper()
	transport, _ := s.serve(t)
	c := clientOf(t, transport)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	o.OnState = func(state FollowState) { states = append(states, string(state.Phase)) }
	err = c.Follow(ctx, kindNamed(t, "Node"), o, func(change Change) error {
		got = append(got, fmt.Sprintf("%s %s@%s", change.Type, change.Object.Meta().Name, change.Object.Meta().ResourceVersion))
		if len(got) == len(want) {
			cancel()
		}
		return nil
	})
	return got, states, err
}

func bookmark(version string) *api.Node {
	return &api.Node{Metadata: api.ObjectMeta{ResourceVersion: version}}
}

// breakage is a way in which streams end and others begin.
type breakage struct {
	script script
	from   string
	want   []string
	states []string
}

func breakages(t *testing.T) map[string]breakage {
	added := func(o *api.Node) api.WatchEvent { return event(t, api.WatchEventTypeADDED, o) }
	modified := func(o *api.Node) api.WatchEvent { return event(t, api.WatchEventTypeMODIFIED, o) }
	deleted := func(o *api.Node) api.WatchEvent { return event(t, api.WatchEventTypeDELETED, o) }
	mark := func(version string) api.WatchEvent {
		return event(t, api.WatchEventTypeBOOKMARK, bookmark(version))
	}
	gone := event(t, api.WatchEventTypeERROR, api.Problem{Status: 410})
	beginning := []api.WatchEvent{added(device("a", "1", "3")), added(device("b", "2", "4")), mark("5")}
	return map[string]breakage{
		"an orderly end": {
			script{{version: "", lines: beginning}, {version: "5", lines: []api.WatchEvent{deleted(device("a", "1", "7"))}}},
			"",
			[]string{"ADDED a@3", "ADDED b@4", "BOOKMARK @5", "DELETED a@7"},
			[]string{"Open", "Waiting", "Open"},
		},
		"a connection that breaks": {
			script{{version: "5", lines: []api.WatchEvent{modified(device("a", "1", "6"))}, then: lost()}, {version: "6", lines: []api.WatchEvent{mark("9")}}},
			"5",
			[]string{"MODIFIED a@6", "BOOKMARK @9"},
			[]string{"Open", "Waiting", "Open"},
		},
		"a stream that is silent": {
			script{{version: "5", lines: []api.WatchEvent{mark("6")}, silent: true}, {version: "6", lines: []api.WatchEvent{mark("7")}}},
			"5",
			[]string{"BOOKMARK @6", "BOOKMARK @7"},
			[]string{"Open", "Waiting", "Open"},
		},
		"a break before everything came": {
			script{{version: "", lines: beginning[:1], then: lost()}, {version: "", lines: beginning}},
			"",
			[]string{"ADDED a@3", "ADDED b@4", "BOOKMARK @5"},
			[]string{"Open", "Waiting", "Open"},
		},
		"a revision that is gone": {
			script{
				{version: "", lines: append(slices.Clone(beginning), gone)},
				{version: "", lines: []api.WatchEvent{added(device("b", "2", "8")), added(device("c", "3", "9")), mark("10")}},
				{version: "10", lines: []api.WatchEvent{modified(device("c", "3", "11"))}},
			},
			"",
			[]string{"ADDED a@3", "ADDED b@4", "BOOKMARK @5", "MODIFIED b@8", "ADDED c@9", "DELETED a@10", "BOOKMARK @10", "MODIFIED c@11"},
			[]string{"Open", "Anew", "Open", "Waiting", "Open"},
		},
		"another one of the same name meanwhile": {
			script{
				{version: "", lines: append(slices.Clone(beginning), gone)},
				{version: "", lines: []api.WatchEvent{added(device("a", "9", "8")), added(device("b", "2", "4")), mark("10")}},
			},
			"",
			[]string{"ADDED a@3", "ADDED b@4", "BOOKMARK @5", "DELETED a@8", "ADDED a@8", "BOOKMARK @10"},
			[]string{"Open", "Anew", "Open"},
		},
		"gone at once": {
			script{{version: "2", status: 410}, {version: "", lines: []api.WatchEvent{added(device("a", "1", "3")), mark("5")}}},
			"2",
			[]string{"ADDED a@3", "BOOKMARK @5"},
			[]string{"Anew", "Open"},
		},
		"managers that are overloaded": {
			script{{version: "2", status: 503}, {version: "2", status: 503}, {version: "2", status: 503}, {version: "2", status: 503}, {version: "2", lines: []api.WatchEvent{mark("5")}}},
			"2",
			[]string{"BOOKMARK @5"},
			[]string{"Waiting", "Open"},
		},
	}
}

func TestFollowSurvivesWhatBreaks(t *testing.T) {
	for name, row := range breakages(t) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, states, err := followed(t, row.script, FollowOptions{WatchOptions: WatchOptions{ResourceVersion: row.from}}, row.want)
				if err != nil || !slices.Equal(got, row.want) || !slices.Equal(states, row.states) {
					t.Errorf("got %q, %q, %v\nwant %q, %q", got, states, err, row.want, row.states)
				}
			})
		})
	}
}

func TestFollowEndsWhereWaitingIsOfNoUse(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404} {
		synctest.Test(t, func(t *testing.T) {
			_, _, err := followed(t, script{{version: "", status: status}}, FollowOptions{}, nil)
			if StatusOf(err) != status {
				t.Errorf("got %v, want status %d", err, status)
			}
		})
	}
}

func TestFollowAsksForAnotherTokenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := event(t, api.WatchEventTypeERROR, api.Problem{Status: 401})
		mark := event(t, api.WatchEventTypeBOOKMARK, bookmark("5"))
		want := []string{"BOOKMARK @5", "never"}
		got, _, err := followed(t, script{{version: "", lines: []api.WatchEvent{mark, ended}}, {version: "5", status: 401}}, FollowOptions{}, want)
		if StatusOf(err) != 401 || !slices.Equal(got, want[:1]) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestFollowIsPatientAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := clientOf(t, func(*http.Request) (*http.Response, error) { return nil, refused() })
		err := c.Follow(t.Context(), kindNamed(t, "Node"), FollowOptions{Patience: time.Minute}, func(Change) error { return nil })
		if took := time.Since(began); !isUnreachable(err) || took < time.Minute || took > 2*time.Minute {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

func TestFollowReturnsWhatItsCallerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport, count := script{{version: "", lines: []api.WatchEvent{event(t, api.WatchEventTypeBOOKMARK, bookmark("5"))}}}.serve(t)
		enough := errors.New("enough")
		err := clientOf(t, transport).Follow(t.Context(), kindNamed(t, "Node"), FollowOptions{}, func(Change) error { return enough })
		if err != enough || *count != 1 {
			t.Errorf("got %v after %d streams", err, *count)
		}
	})
}
