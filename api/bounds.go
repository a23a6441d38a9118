package api

import (
	"reflect"
	"strings"
	"unicode/utf8"
)

// validateBounds checks that no text, list or map in a struct is larger than the specification says. Further rules are those of each kind.
func validateBounds(v reflect.Value, at pointer, found *faults) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			validateBounds(v.Elem(), at, found)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			for i := range v.Len() {
				validateBounds(v.Index(i), at.index(i), found)
			}
		}
	case reflect.Struct:
		bounds := boundsOf(v.Type().Name())
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if !v.Type().Field(i).IsExported() || name == "-" {
				continue
			}
			bounds[name].validate(v.Field(i), at.key(name), found)
			validateBounds(v.Field(i), at.key(name), found)
		}
	}
}

func (b bound) validate(v reflect.Value, at pointer, found *faults) {
	switch v.Kind() {
	case reflect.String:
		b.text(v.String(), at, found)
	case reflect.Slice:
		if b.items > 0 && v.Len() > b.items {
			found.add(at, "has %d items, at most %d are possible", v.Len(), b.items)
		}
		for i := range v.Len() {
			if v.Index(i).Kind() == reflect.String {
				b.text(v.Index(i).String(), at.index(i), found)
			}
		}
	case reflect.Map:
		if b.members > 0 && v.Len() > b.members {
			found.add(at, "has %d entries, at most %d are possible", v.Len(), b.members)
		}
	}
}

func (b bound) text(text string, at pointer, found *faults) {
	if b.length > 0 && len(text) > b.length && utf8.RuneCountInString(text) > b.length {
		found.add(at, "has %d characters, at most %d are possible", utf8.RuneCountInString(text), b.length)
	}
}
