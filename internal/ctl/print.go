package ctl

import (
	"encoding/json"
	"fmt"
	"io"

	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/api"
)

// printOne prints a resource that was asked for by name.
func (c *command) printOne(o api.Object) error {
	switch c.output {
	case "json", "yaml":
		return c.printObject(o)
	}
	return c.printLists(groups([]api.Object{o}))
}

// printObject prints any value as JSON or YAML.
func (c *command) printObject(value any) error {
	if c.output == "yaml" {
		text, err := yaml.Marshal(value)
		if err != nil {
			return err
		}
		_, err = c.Stdout.Write(text)
		return err
	}
	return encodeJSON(c.Stdout, value, "  ")
}

// printLists prints lists of one kind each; JSON and YAML of several kinds is one list of kind List.
func (c *command) printLists(lists []api.List) error {
	switch c.output {
	case "json", "yaml":
		return c.printObject(merged(lists))
	case "name":
		for _, list := range lists {
			for _, object := range list.Items {
				if _, err := fmt.Fprintln(c.Stdout, nameOf(object)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for i, list := range lists {
		if i > 0 {
			fmt.Fprintln(c.Stdout)
		}
		if len(list.Items) == 0 {
			fmt.Fprintf(c.Stderr, "No %s.\n", pluralOfList(list))
			continue
		}
		if err := c.printTable(list); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) printTable(list api.List) error {
	kind, _ := api.KindNamed(list.Items[0].KindName())
	t := newTable(c.Stdout, columnsOf(kind.Name, c.output == "wide"))
	for _, object := range list.Items {
		t.add(object, c.Now())
	}
	return t.flush()
}

func merged(lists []api.List) api.List {
	if len(lists) == 1 {
		return lists[0]
	}
	all := api.List{ApiVersion: api.Version, Kind: "List", Items: []api.Object{}}
	for _, list := range lists {
		all.Items = append(all.Items, list.Items...)
	}
	return all
}

func pluralOfList(list api.List) string {
	for _, kind := range api.Kinds() {
		if kind.Name+"List" == list.Kind {
			return kind.Plural
		}
	}
	return "resources"
}

// encodeJSON writes one JSON value and a line break; texts keep < > & as they are.
func encodeJSON(w io.Writer, value any, indent string) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	return encoder.Encode(value)
}

// stream prints resources one after the other as they come.
type stream struct {
	c     *command
	table *table
	count int
}

func (c *command) newStream(kind api.Kind) *stream {
	return &stream{c: c, table: newTable(c.Stdout, columnsOf(kind.Name, c.output == "wide"))}
}

// present prints what there is already; a table has its headings and these rows aligned as one.
func (s *stream) present(objects []api.Object) error {
	switch s.c.output {
	case "json", "yaml", "name":
		for _, o := range objects {
			if err := s.object(o); err != nil {
				return err
			}
		}
		return nil
	}
	for _, o := range objects {
		s.table.add(o, s.c.Now())
	}
	return s.table.flush()
}

func (s *stream) object(o api.Object) error {
	s.count++
	switch s.c.output {
	case "json":
		return encodeJSON(s.c.Stdout, o, "")
	case "yaml":
		if s.count > 1 {
			fmt.Fprintln(s.c.Stdout, "---")
		}
		return s.c.printObject(o)
	case "name":
		_, err := fmt.Fprintln(s.c.Stdout, nameOf(o))
		return err
	}
	s.table.add(o, s.c.Now())
	return s.table.flush()
}

// deleted says so in formats for people; the others have no word for it, `cyphonicctl watch -o json` has.
func (s *stream) deleted(o api.Object) error {
	switch s.c.output {
	case "json", "yaml", "name":
		return nil
	}
	_, err := fmt.Fprintln(s.c.Stdout, nameOf(o), "deleted")
	return err
}
