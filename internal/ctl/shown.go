package ctl

import (
	"fmt"
	"strings"

	"github.com/cyphonic/cyphonic/api"
)

// shown is a resource and what became of it.
type shown struct {
	object  api.Object
	verdict string
}

func shownResource(o api.Object, verdict string) shown { return shown{o, verdict} }

// printShown prints what became of resources: a line each or, as JSON and YAML, the resources themselves, several as one list.
func (c *command) printShown(all []shown) error {
	switch c.output {
	case "json", "yaml":
		var objects []api.Object
		for _, one := range all {
			objects = append(objects, one.object)
		}
		if len(objects) == 0 {
			return nil
		}
		if len(objects) == 1 {
			return c.printObject(objects[0])
		}
		return c.printObject(merged(groups(objects)))
	}
	for _, one := range all {
		line := nameOf(one.object)
		if c.output != "name" {
			word, rest, _ := strings.Cut(one.verdict, " ")
			line += " " + c.paint(c.Stdout, styleOfState(word), word)
			if rest != "" {
				line += " " + rest
			}
		}
		if _, err := fmt.Fprintln(c.Stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// printVerdict says what became of one resource.
func (c *command) printVerdict(o api.Object, verdict string) error {
	return c.printShown([]shown{shownResource(o, verdict)})
}
