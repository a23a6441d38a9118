package ctl

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/jsonpath"
)

// printer prints resources in the format of -o: one, lists that come in pages, or one after the other as they change.
type printer struct {
	c        *command
	flags    getFlags
	template *jsonpath.Template
	columns  []column // of custom-columns
	sortBy   *jsonpath.Path

	table *objectTable // the one that is being printed
	kind  string       // that it is of
	lists []api.List   // what is printed at the end
	count int          // of the resources printed one after the other
}

func (c *command) newPrinter(flags getFlags) (p *printer, err error) {
	p = &printer{c: c, flags: flags}
	switch c.output {
	case "jsonpath":
		if p.template, err = jsonpath.Parse(c.template); err != nil {
			return nil, &usageError{fmt.Errorf("-o jsonpath: %w", err)}
		}
	case "custom-columns":
		if p.columns, err = customColumns(c.template); err != nil {
			return nil, &usageError{fmt.Errorf("-o custom-columns: %w", err)}
		}
	}
	if flags.sortBy != "" {
		if p.sortBy, err = jsonpath.ParsePath(flags.sortBy); err != nil {
			return nil, &usageError{fmt.Errorf("--sort-by: %w", err)}
		}
	}
	return p, nil
}

// customColumns reads HEADING:path,….
func customColumns(text string) ([]column, error) {
	var columns []column
	for _, part := range splitOutside(text) {
		heading, expression, ok := strings.Cut(part, ":")
		if !ok || heading == "" || expression == "" {
			return nil, fmt.Errorf("%q is not of the form HEADING:.path", part)
		}
		path, err := jsonpath.ParsePath(expression)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", heading, err)
		}
		columns = append(columns, column{heading, func(o api.Object, _ time.Time) string {
			text, err := findText(path, o)
			if err != nil {
				return "<" + err.Error() + ">"
			}
			return first(text, "<none>")
		}})
	}
	return columns, nil
}

// splitOutside splits at commas that are not within brackets or quotes.
func splitOutside(text string) []string {
	var (
		parts []string
		begin int
		depth int
		quote rune
	)
	for i, r := range text {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == '[' || r == '(':
			depth++
		case r == ']' || r == ')':
			depth--
		case r == ',' && depth == 0:
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
	}
	return append(parts, text[begin:])
}

func findText(path *jsonpath.Path, o api.Object) (string, error) {
	value, err := generic(o)
	if err != nil {
		return "", err
	}
	found, err := path.Find(value)
	if err != nil {
		return "", err
	}
	texts := make([]string, len(found))
	for i := range found {
		if texts[i], err = jsonpath.Text(found[i : i+1]); err != nil {
			return "", err
		}
	}
	return strings.Join(texts, ","), nil
}

// collects tells whether everything must be there before anything is printed.
func (p *printer) collects() bool {
	switch p.c.output {
	case "json", "yaml", "jsonpath":
		return true
	}
	return p.sortBy != nil
}

// forPeople tells whether the format is a table.
func (p *printer) forPeople() bool {
	switch p.c.output {
	case "", "table", "wide", "custom-columns":
		return true
	}
	return false
}

// one prints a resource that was asked for by name.
func (p *printer) one(o api.Object) error {
	p.strip(o)
	switch p.c.output {
	case "json", "yaml":
		return p.c.printObject(o)
	case "jsonpath":
		return p.execute(o)
	}
	return p.page(groups([]api.Object{o})[0])
}

// list takes a whole list; what collects is printed at the end.
func (p *printer) list(list api.List) error {
	if p.sortBy != nil {
		if err := sortObjects(list.Items, p.sortBy); err != nil {
			return err
		}
	}
	switch p.c.output {
	case "json", "yaml", "jsonpath":
		p.strip(list.Items...)
		p.lists = append(p.lists, list)
		return nil
	}
	return p.page(list)
}

// page prints a part of a list.
func (p *printer) page(page api.List) error {
	if len(page.Items) == 0 {
		return nil
	}
	if p.c.output == "name" {
		return p.c.printNames(page.Items)
	}
	p.begin(page.Items[0].KindName())
	for _, o := range page.Items {
		p.table.addObject(o, p.c.Now())
	}
	return p.table.flush()
}

// begin starts the table of a kind unless it is started.
func (p *printer) begin(kind string) {
	if p.kind == kind {
		return
	}
	if p.kind != "" {
		fmt.Fprintln(p.c.Stdout)
	}
	p.kind = kind
	columns := p.columns
	if columns == nil {
		columns = columnsOf(kind, p.c.output == "wide")
	}
	p.table = p.c.newObjectTable(columns)
	p.table.headed = p.flags.noHeaders
}

// end prints what was collected.
func (p *printer) end() error {
	switch p.c.output {
	case "json", "yaml":
		return p.c.printObject(merged(p.lists))
	case "jsonpath":
		return p.execute(merged(p.lists))
	}
	return nil
}

func (p *printer) execute(value any) error {
	data, err := generic(value)
	if err != nil {
		return err
	}
	return p.template.Execute(p.c.Stdout, data)
}

// strip takes out who decides about which fields, which nobody reads by the way.
func (p *printer) strip(objects ...api.Object) {
	if p.flags.managedFields {
		return
	}
	for _, o := range objects {
		o.Meta().ManagedFields = nil
	}
}

// present prints what there is before changes are followed; a table has its headings, and these rows aligned as one.
func (p *printer) present(kind api.Kind, objects []api.Object) error {
	if !p.forPeople() {
		for _, o := range objects {
			if err := p.next(o); err != nil {
				return err
			}
		}
		return nil
	}
	p.begin(kind.Name)
	for _, o := range objects {
		p.table.addObject(o, p.c.Now())
	}
	return p.table.flush()
}

// next prints one resource of many.
func (p *printer) next(o api.Object) error {
	p.count++
	p.strip(o)
	switch p.c.output {
	case "json":
		return encodeJSON(p.c.Stdout, o, "")
	case "yaml":
		if p.count > 1 {
			fmt.Fprintln(p.c.Stdout, "---")
		}
		return p.c.printObject(o)
	case "name":
		return p.c.printNames([]api.Object{o})
	case "jsonpath":
		if err := p.execute(o); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.c.Stdout)
		return err
	}
	p.begin(o.KindName())
	p.table.addObject(o, p.c.Now())
	return p.table.flush()
}

// deleted says so in formats for people; the others have no word for it, `cyphonicctl watch -o json` has.
func (p *printer) deleted(o api.Object) error {
	if !p.forPeople() || p.columns != nil {
		return nil
	}
	_, err := fmt.Fprintln(p.c.Stdout, nameOf(o), p.c.paint(p.c.Stdout, styleBad, "deleted"))
	return err
}

// compareValues orders nothing before numbers before texts before anything else.
func compareValues(a, b any) int {
	if difference := cmp.Compare(rankOfValue(a), rankOfValue(b)); difference != 0 {
		return difference
	}
	switch a := a.(type) {
	case json.Number:
		x, err1 := a.Float64()
		y, err2 := b.(json.Number).Float64()
		if errors.Join(err1, err2) == nil {
			return cmp.Compare(x, y)
		}
	case string:
		return cmp.Compare(a, b.(string))
	}
	return 0
}

func rankOfValue(value any) int {
	switch value.(type) {
	case nil:
		return 0
	case json.Number:
		return 1
	case string:
		return 2
	}
	return 3
}
