package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

func TestExitCodes(t *testing.T) {
	problem := func(status int) error { return &client.ProblemError{Problem: api.Problem{Status: status}} }
	rows := map[string]struct {
		err  error
		want int
	}{
		"nothing special":      {errors.New("x"), 1},
		"usage":                {&usageError{errors.New("x")}, 2},
		"manifest":             {&invalidError{errors.New("x")}, 3},
		"fields":               {api.FieldErrors{{Detail: "x"}}, 3},
		"400":                  {problem(http.StatusBadRequest), 3},
		"413":                  {problem(http.StatusRequestEntityTooLarge), 3},
		"404":                  {problem(http.StatusNotFound), 4},
		"409":                  {problem(http.StatusConflict), 5},
		"412":                  {problem(http.StatusPreconditionFailed), 5},
		"401":                  {problem(http.StatusUnauthorized), 6},
		"403":                  {problem(http.StatusForbidden), 6},
		"503":                  {problem(http.StatusServiceUnavailable), 7},
		"500":                  {problem(http.StatusInternalServerError), 1},
		"unreachable":          {&client.UnreachableError{Err: errors.New("x")}, 7},
		"wrapped and joined":   {fmt.Errorf("a: %w", errors.Join(fmt.Errorf("b: %w", problem(http.StatusNotFound)))), 4},
		"the first of several": {errors.Join(problem(http.StatusConflict), problem(http.StatusNotFound)), 5},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			if got := exitCode(row.err); got != row.want {
				t.Errorf("got %d, want %d", got, row.want)
			}
			if !strings.Contains(exitHelp, fmt.Sprintf("\n  %d  ", row.want)) {
				t.Errorf("the help does not speak of %d", row.want)
			}
		})
	}
}

func TestDocumentationHasTheExitCodesOfTheHelp(t *testing.T) {
	document, err := os.ReadFile("../../docs/cyphonicctl.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^  (\d)  (.+)$`).FindAllStringSubmatch(exitHelp, -1)
	if len(lines) != exitUnreachable+1 {
		t.Fatalf("the help has %d exit codes", len(lines))
	}
	for _, line := range lines {
		if !strings.Contains(string(document), fmt.Sprintf("| %s | %s |\n", line[1], line[2])) {
			t.Errorf("docs/cyphonicctl.md does not say of %s: %s", line[1], line[2])
		}
	}
}

func TestAnInterruptedVerbIsNotDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := command{Environment: OperatingSystem(), output: "name"}
	manager, err := client.New(client.Options{Server: "https://127.0.0.1:1", Transport: http.DefaultTransport})
	if err != nil {
		t.Fatal(err)
	}
	kind, _ := api.KindNamed("Node")
	if err := c.get(ctx, manager, []target{{kind: kind}}, getFlags{chunkSize: 500}); exitCode(err) != exitFailure {
		t.Errorf("got %v, exit code %d", err, exitCode(err))
	}
}

func TestReportPrintsOneLinePerFault(t *testing.T) {
	var out strings.Builder
	c := command{Environment: Environment{Stderr: &out}}
	c.report(errors.Join(errors.New("a"), errors.Join(errors.New("b"), errors.New("c"))))
	if want := "error: a\nerror: b\nerror: c\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
