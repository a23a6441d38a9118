package gitsync

import (
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

// statusWriter is the status of a source while a round is done.
type statusWriter struct {
	api.GitSourceStatus
	generation int64 // of the specification that the round follows
	now        func() time.Time
	taken      map[string]bool // resources with fields that others decide about
}

// set writes a condition; the time of its last transition stays if the status
// of the condition does.
func (s *statusWriter) set(kind string, status api.ConditionStatus, reason, message string) {
	now := s.now().UTC().Truncate(time.Second)
	c := api.Condition{Type: kind, Status: status, Reason: reason, Message: clip(message), ObservedGeneration: s.generation, LastTransitionTime: now}
	i := slices.IndexFunc(s.Conditions, func(c api.Condition) bool { return c.Type == kind })
	if i < 0 {
		s.Conditions = append(s.Conditions, c)
		return
	}
	if s.Conditions[i].Status == status {
		c.LastTransitionTime = s.Conditions[i].LastTransitionTime
	}
	s.Conditions[i] = c
}

// is tells whether a condition has a status.
func (s *statusWriter) is(kind string, status api.ConditionStatus) bool {
	return slices.ContainsFunc(s.Conditions, func(c api.Condition) bool { return c.Type == kind && c.Status == status })
}

// fail replaces the failures.
func (s *statusWriter) fail(failures []api.GitFailure) {
	s.Failures = slices.Clone(failures[:min(len(failures), api.MaxGitFailures)])
}
