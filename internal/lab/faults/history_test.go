package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cyphonic/cyphonic/api"
)

// What clients do with registers.
const (
	opRead = iota
	opWrite
	opSwap // write if the value is still the one read before
	opDelete
)

type input struct {
	operation int
	register  string
	value     string // to write
	expected  string // of opSwap
}

type output struct {
	value   string // opRead: what was there, "" for nothing
	done    bool   // opSwap, opDelete: it was
	unknown bool   // nobody knows what happened
}

// registers is the model: each register holds a value or nothing, and operations happen one after the other.
func registers() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byName := map[string][]porcupine.Operation{}
			for _, o := range history {
				name := o.Input.(input).register
				byName[name] = append(byName[name], o)
			}
			var parts [][]porcupine.Operation
			for _, part := range byName {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return "" },
		Step: func(state, in, out any) (bool, any) {
			i, o, value := in.(input), out.(output), state.(string)
			switch i.operation {
			case opRead:
				return o.value == value, value
			case opWrite:
				return true, i.value
			case opSwap:
				if o.unknown && value != i.expected {
					return true, value
				}
				if o.unknown || o.done {
					return value == i.expected, i.value
				}
				return value != i.expected, value
			default:
				if o.unknown {
					return true, ""
				}
				return o.done == (value != ""), ""
			}
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
	}
}

// history collects what clients did. It is safe for concurrent use.
type history struct {
	begin time.Time

	mu         sync.Mutex
	operations []porcupine.Operation
	unknown    int
	stale      int
}

func (h *history) now() int64 { return time.Since(h.begin).Nanoseconds() }

func (h *history) add(client int, in input, out output, call int64) {
	end := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if out.unknown {
		h.unknown++
		if in.operation == opRead {
			return
		}
		end = math.MaxInt64 // it may still happen
	}
	h.operations = append(h.operations, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: end})
}

func (h *history) admitStale() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stale++
}

func (h *history) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Logf("%d operations, %d of unknown outcome, %d reads that said they were stale", len(h.operations), h.unknown, h.stale)
	if len(h.operations) < 500 {
		t.Errorf("only %d operations: the history says little", len(h.operations))
	}
	if got := porcupine.CheckOperationsTimeout(registers(), h.operations, 2*time.Minute); got != porcupine.Ok {
		t.Errorf("the history is not linearizable: %s", got)
	}
}

// client does random operations on the registers until ctx ends.
type client struct {
	id       int
	sessions []*session
	names    []string
	history  *history
	random   *rand.Rand
	written  int
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		s := c.sessions[c.random.IntN(len(c.sessions))]
		name := c.names[c.random.IntN(len(c.names))]
		switch n := c.random.IntN(100); {
		case n < 30:
			c.read(s, name)
		case n < 40:
			c.list(s)
		case n < 70:
			c.write(s, name)
		case n < 90:
			c.swap(s, name)
		default:
			c.remove(s, name)
		}
		time.Sleep(time.Duration(c.random.IntN(8)) * time.Millisecond)
	}
}

func (c *client) newValue() string {
	c.written++
	return fmt.Sprintf("c%d-%d", c.id, c.written)
}

// read returns what it read, and ok if it did.
func (c *client) read(s *session, name string) (value, version string, ok bool) {
	call := c.history.now()
	r := s.do(context.Background(), http.MethodGet, "/api/v1/roles/"+name, "", nil)
	switch {
	case r.stale():
		c.history.admitStale()
		return "", "", false
	case r.status == http.StatusNotFound:
	case r.status == http.StatusOK:
		var err error
		if value, version, err = valueOf(r.body); err != nil {
			return "", "", false
		}
	default:
		c.history.add(c.id, input{operation: opRead, register: name}, output{unknown: true}, call)
		return "", "", false
	}
	c.history.add(c.id, input{operation: opRead, register: name}, output{value: value}, call)
	return value, version, true
}

// list is a read of every register at once.
func (c *client) list(s *session) {
	call := c.history.now()
	r := s.do(context.Background(), http.MethodGet, "/api/v1/roles", "", nil)
	if r.stale() {
		c.history.admitStale()
		return
	}
	var list api.RoleList
	if r.status != http.StatusOK || json.Unmarshal(r.body, &list) != nil {
		return
	}
	values := map[string]string{}
	for _, item := range list.Items {
		values[item.Metadata.Name] = item.Metadata.Annotations[valueAnnotation]
	}
	for _, name := range c.names {
		c.history.add(c.id, input{operation: opRead, register: name}, output{value: values[name]}, call)
	}
}

func (c *client) write(s *session, name string) {
	in := input{operation: opWrite, register: name, value: c.newValue()}
	call := c.history.now()
	r := s.do(context.Background(), http.MethodPut, "/api/v1/roles/"+name, "", register(name, in.value))
	switch r.status {
	case http.StatusOK, http.StatusCreated:
		c.history.add(c.id, in, output{done: true}, call)
	case http.StatusConflict: // others were faster again and again: it did not happen
	default:
		c.history.add(c.id, in, output{unknown: true}, call)
	}
}

func (c *client) swap(s *session, name string) {
	value, version, ok := c.read(s, name)
	if !ok || value == "" {
		return
	}
	in := input{operation: opSwap, register: name, value: c.newValue(), expected: value}
	call := c.history.now()
	r := s.do(context.Background(), http.MethodPut, "/api/v1/roles/"+name, version, register(name, in.value))
	switch r.status {
	case http.StatusOK:
		c.history.add(c.id, in, output{done: true}, call)
	case http.StatusPreconditionFailed:
		c.history.add(c.id, in, output{}, call)
	case http.StatusConflict:
	default:
		c.history.add(c.id, in, output{unknown: true}, call)
	}
}

func (c *client) remove(s *session, name string) {
	in := input{operation: opDelete, register: name}
	call := c.history.now()
	r := s.do(context.Background(), http.MethodDelete, "/api/v1/roles/"+name, "", nil)
	switch r.status {
	case http.StatusOK:
		c.history.add(c.id, in, output{done: true}, call)
	case http.StatusNotFound:
		c.history.add(c.id, in, output{}, call)
	case http.StatusConflict:
	default:
		c.history.add(c.id, in, output{unknown: true}, call)
	}
}

// The model must refuse what is not linearizable, else the test proves nothing.
func TestTheModelFindsALostWrite(t *testing.T) {
	lost := []porcupine.Operation{
		{ClientId: 1, Input: input{operation: opWrite, register: "r", value: "a"}, Output: output{done: true}, Call: 0, Return: 1},
		{ClientId: 2, Input: input{operation: opRead, register: "r"}, Output: output{value: ""}, Call: 2, Return: 3},
	}
	if porcupine.CheckOperations(registers(), lost) {
		t.Error("a lost write passes")
	}
	lost[0].Output, lost[0].Return = output{unknown: true}, math.MaxInt64
	if !porcupine.CheckOperations(registers(), lost) {
		t.Error("a write of unknown outcome that did not happen does not pass")
	}
	swapped := []porcupine.Operation{
		{ClientId: 1, Input: input{operation: opWrite, register: "r", value: "a"}, Output: output{done: true}, Call: 0, Return: 1},
		{ClientId: 2, Input: input{operation: opSwap, register: "r", expected: "a", value: "b"}, Output: output{done: true}, Call: 2, Return: 5},
		{ClientId: 3, Input: input{operation: opSwap, register: "r", expected: "a", value: "c"}, Output: output{done: true}, Call: 2, Return: 5},
	}
	if porcupine.CheckOperations(registers(), swapped) {
		t.Error("two swaps of the same value pass")
	}
}
