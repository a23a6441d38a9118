// Package reference writes the specification of the REST API as one HTML page
// for people: operations by tag, their parameters and answers, the schemas with
// links and examples, and the types of problems. The page needs no script and
// loads nothing.
//
// The package only renders: it must not serve, and it must not know resources
// or what the operations do.
package reference

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"

	"github.com/getkin/kin-openapi/openapi3"
)

//go:embed page.tmpl
var pageText string

//go:embed page.css
var styleText string

// Problem is a type of problem for the table at the end of the page.
type Problem struct {
	Type     string // the URN
	Statuses string // the HTTP statuses that it comes with
	Meaning  string
}

// Page is the rendered page.
type Page struct {
	HTML []byte
	// Policy is the Content-Security-Policy that the page needs: its own style
	// and nothing else.
	Policy string
}

// Render writes the page of a specification whose references are resolved.
func Render(spec *openapi3.T, problems []Problem) (Page, error) {
	if spec == nil || spec.Info == nil || spec.Paths == nil || spec.Components == nil {
		return Page{}, errors.New("render the reference: the specification has no info, paths or components")
	}
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return Page{}, fmt.Errorf("render the reference: %w", err)
	}
	c := &collector{spec: spec}
	model, err := c.model(problems)
	if err != nil {
		return Page{}, fmt.Errorf("render the reference: %w", err)
	}
	model.Style = template.CSS(styleText)
	var b bytes.Buffer
	if err := t.Execute(&b, model); err != nil {
		return Page{}, fmt.Errorf("render the reference: %w", err)
	}
	style, err := styleOf(b.Bytes())
	if err != nil {
		return Page{}, err
	}
	sum := sha256.Sum256(style)
	return Page{
		HTML: b.Bytes(),
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}, nil
}

// styleOf finds the style as it stands in the page: its digest is what the
// policy names.
func styleOf(page []byte) ([]byte, error) {
	_, rest, ok := bytes.Cut(page, []byte("<style>"))
	style, _, closed := bytes.Cut(rest, []byte("</style>"))
	if !ok || !closed {
		return nil, errors.New("render the reference: the page has no style")
	}
	return style, nil
}
