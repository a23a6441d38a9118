package demo

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestStepsSayHowTheyEnded(t *testing.T) {
	var out strings.Builder
	s := newStory(&out)
	failure := errors.New("broken")
	if err := s.step("works", func() (string, error) { return "well", nil }); err != nil {
		t.Error(err)
	}
	if err := s.step("fails", func() (string, error) { return "", failure }); !errors.Is(err, failure) {
		t.Error(err)
	}
	want := "   0.0 s  ✓ works: well\n   0.0 s  ✗ fails\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestTablesAlignByCharactersNotBytes(t *testing.T) {
	var out strings.Builder
	newStory(&out).table([][]string{{"a", "b"}, {"→→→", "x"}, {"–", "y"}})
	want := "  a    b\n  ──────\n  →→→  x\n  –    y\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestStepsStopAtTheFirstFailure(t *testing.T) {
	failure := errors.New("broken")
	ran := 0
	count := func() error { ran++; return nil }
	err := inOrder(count, func() error { return failure }, count)
	if !errors.Is(err, failure) || ran != 1 {
		t.Errorf("ran %d, %v", ran, err)
	}
}

func TestAwaitGivesTheLastReason(t *testing.T) {
	tries := 0
	err := await(t.Context(), 5*time.Second, func() error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("after %d tries: %v", tries, err)
	}
	err = await(t.Context(), 10*time.Millisecond, func() error { return errors.New("never") })
	if err == nil || !strings.Contains(err.Error(), "never") {
		t.Errorf("got %v", err)
	}
}
