package rest

import (
	"context"

	"github.com/cyphonic/cyphonic/manager/store"
	"github.com/cyphonic/cyphonic/manager/store/overlay"
)

// on is the server on another store: one whose writes nobody else sees. It does
// what the server does, but tells nobody: no events.
func (s *Server) on(o store.Store) *Server {
	c := *s
	c.store, c.ipam = o, s.ipam.On(o)
	c.rehearsal, c.events = true, nil
	return &c
}

// trial does a write on an overlay of the store: everything happens but the
// writing.
func (s *Server) trial(_ context.Context, p writeParams, f func(*Server, writeParams) (*answer, error)) (*answer, error) {
	p.DryRun, p.IdempotencyKey = "", ""
	a, err := f(s.on(overlay.New(s.store)), p)
	if err != nil {
		return nil, err
	}
	a.note("Cyphonic-Dry-Run", "All")
	return a, nil
}
