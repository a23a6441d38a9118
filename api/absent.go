package api

import (
	"reflect"
	"strings"
)

// dropEmpty makes empty lists and maps of optional fields absent, at every
// depth: the two mean the same, and so a resource has one encoding only.
func dropEmpty(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			dropEmpty(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			dropEmpty(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			dropEmptyField(v.Type().Field(i), v.Field(i))
		}
	}
}

func dropEmptyField(field reflect.StructField, v reflect.Value) {
	if !field.IsExported() {
		return
	}
	list := v.Kind() == reflect.Slice || v.Kind() == reflect.Map
	if list && v.Len() == 0 && strings.Contains(field.Tag.Get("json"), ",omitempty") {
		v.SetZero()
		return
	}
	dropEmpty(v)
}
