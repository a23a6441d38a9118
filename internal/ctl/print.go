package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/cyphonic/cyphonic/api"
)

// printObject prints any value as JSON or YAML.
func (c *command) printObject(value any) error {
	if c.output == "yaml" {
		text, err := encodeYAML(value)
		if err != nil {
			return err
		}
		_, err = c.Stdout.Write(text)
		return err
	}
	return encodeJSON(c.Stdout, value, "  ")
}

func (c *command) printNames(objects []api.Object) error {
	var lines bytes.Buffer
	for _, o := range objects {
		fmt.Fprintln(&lines, nameOf(o))
	}
	_, err := c.Stdout.Write(lines.Bytes())
	return err
}

// merged is one list of all, of kind List if they are of several kinds.
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

// groups makes one list per kind, in the order in which the kinds first appear.
func groups(objects []api.Object) []api.List {
	var lists []api.List
	at := map[string]int{}
	for _, object := range objects {
		kind, _ := api.KindNamed(object.KindName())
		i, ok := at[kind.Name]
		if !ok {
			i = len(lists)
			at[kind.Name] = i
			lists = append(lists, kind.NewList("", nil))
		}
		lists[i].Items = append(lists[i].Items, object)
	}
	return lists
}

// encodeJSON writes one JSON value and a line break; texts keep < > & as they are.
func encodeJSON(w io.Writer, value any, indent string) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	return encoder.Encode(value)
}

// generic is a value as decoded JSON, numbers as they are written.
func generic(value any) (any, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var decoded any
	err = decoder.Decode(&decoded)
	return decoded, err
}

func yesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// first is the first text that is not empty.
func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func absolute(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", &usageError{err}
	}
	return path, nil
}

// subjectText is as subjects are written in role bindings and audit records: kind/name.
func subjectText(me api.Whoami) string {
	if me.Name == "" || me.Name == lower(me.Kind) { // the administrator
		return lower(me.Kind)
	}
	return lower(me.Kind) + "/" + me.Name
}

// convert reads a value as another type with the same JSON.
func convert(from, into any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
