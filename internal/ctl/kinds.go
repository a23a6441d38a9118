package ctl

import (
	"fmt"
	"strings"

	"github.com/cyphonic/cyphonic/api"
)

// kindOf finds a kind by its name, plural or short name, whatever the case of the letters.
func kindOf(word string) (api.Kind, error) {
	var known []string
	for _, kind := range api.Kinds() {
		if word != "" && (strings.EqualFold(word, kind.Name) || strings.EqualFold(word, kind.Plural) || strings.EqualFold(word, kind.Short)) {
			return kind, nil
		}
		known = append(known, kind.Plural)
	}
	return api.Kind{}, &usageError{fmt.Errorf("unknown kind %q: use one of %s", word, strings.Join(known, ", "))}
}

// target is what KIND NAME or KIND/NAME speak of; without a name it is every resource of the kind.
type target struct {
	kind api.Kind
	name string
}

// targetsOf reads KIND, KIND NAME…, KIND/NAME… and, without a name, KIND,KIND… or all.
func targetsOf(args []string) ([]target, error) {
	if len(args) == 1 && args[0] == "all" {
		var targets []target
		for _, kind := range api.Kinds() {
			if !kind.ReadOnly {
				targets = append(targets, target{kind: kind})
			}
		}
		return targets, nil
	}
	if strings.Contains(args[0], "/") {
		return slashed(args)
	}
	var targets []target
	for word := range strings.SplitSeq(args[0], ",") {
		kind, err := kindOf(word)
		if err != nil {
			return nil, err
		}
		if len(args) == 1 {
			targets = append(targets, target{kind: kind})
		}
		for _, name := range args[1:] {
			if strings.Contains(name, "/") {
				return nil, &usageError{fmt.Errorf("%q: write KIND NAME or KIND/NAME, not both", name)}
			}
			targets = append(targets, target{kind, name})
		}
	}
	return targets, nil
}

func slashed(args []string) ([]target, error) {
	var targets []target
	for _, arg := range args {
		word, name, ok := strings.Cut(arg, "/")
		if !ok || name == "" {
			return nil, &usageError{fmt.Errorf("%q is not of the form KIND/NAME", arg)}
		}
		kind, err := kindOf(word)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target{kind, name})
	}
	return targets, nil
}

// nameOf is the kind in lower case and the name, as in node/viewer.
func nameOf(o api.Object) string { return strings.ToLower(o.KindName()) + "/" + o.Meta().Name }

func lower(text string) string { return strings.ToLower(text) }

// String is as nameOf.
func (t target) String() string { return strings.ToLower(t.kind.Name) + "/" + t.name }
