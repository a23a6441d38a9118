package api

import (
	"slices"
	"strings"
)

// Bounds of a selector in a query.
const (
	MaxSelectorText         = 2048
	MaxSelectorRequirements = 32
	maxSelectorValues       = 64
)

// LabelSelector selects resources by their labels; all its requirements must hold. The zero value selects everything.
type LabelSelector []LabelRequirement

// LabelRequirement is one part of a LabelSelector.
type LabelRequirement struct {
	Key      string
	Operator SelectorOperator
	Values   []string // one for = and !=, at least one for in and notin, else none
}

// SelectorOperator says how a requirement compares.
type SelectorOperator string

// Operators of selectors. NotEquals and NotIn hold for a missing label too, as in Kubernetes.
const (
	SelectEquals    SelectorOperator = "="
	SelectNotEquals SelectorOperator = "!="
	SelectIn        SelectorOperator = "in"
	SelectNotIn     SelectorOperator = "notin"
	SelectExists    SelectorOperator = "exists"
	SelectAbsent    SelectorOperator = "!"
)

// ParseLabelSelector reads `a=b,c!=d,e in (x,y),f notin (x),g,!h`. Empty text selects everything. The faults name /labelSelector.
func ParseLabelSelector(text string) (LabelSelector, FieldErrors) {
	var found faults
	parts := splitRequirements(text, "/labelSelector", &found)
	var selector LabelSelector
	for _, part := range parts {
		requirement, ok := parseLabelRequirement(part)
		if !ok {
			found.add("/labelSelector", "%s is no requirement: write key=value, key!=value, key in (a,b), key notin (a,b), key or !key", show(part))
			continue
		}
		if !labelKey(requirement.Key) {
			found.add("/labelSelector", "%s is no label key", show(requirement.Key))
		}
		selector = append(selector, requirement)
	}
	return selector, found.list
}

// Matches tells whether labels fulfil all requirements.
func (s LabelSelector) Matches(labels map[string]string) bool {
	for _, r := range s {
		value, has := labels[r.Key]
		var holds bool
		switch r.Operator {
		case SelectEquals, SelectIn:
			holds = has && slices.Contains(r.Values, value)
		case SelectNotEquals, SelectNotIn:
			holds = !has || !slices.Contains(r.Values, value)
		case SelectExists:
			holds = has
		case SelectAbsent:
			holds = !has
		}
		if !holds {
			return false
		}
	}
	return true
}

// FieldSelector selects resources by fields; all its requirements must hold. The zero value selects everything.
type FieldSelector []FieldRequirement

// FieldRequirement is one part of a FieldSelector.
type FieldRequirement struct {
	Field string // as in spec.network
	Value string
	Not   bool // != instead of =
}

// SelectableFields are the fields of a kind that a field selector may name.
func SelectableFields(kind string) []string {
	fields := []string{"metadata.name"}
	switch kind {
	case "Node", "Adapter":
		return append(fields, "spec.network", "status.phase")
	case "GeneralNode":
		return append(fields, "spec.network", "spec.adapter", "status.phase")
	case "AccessPolicy":
		return append(fields, "spec.network")
	case "EnrollmentToken", "APIToken":
		return append(fields, "status.phase")
	case "Replica":
		return append(fields, "spec.service", "spec.host", "status.state")
	case "Event":
		return append(fields, "regarding.kind", "regarding.name", "type", "reason")
	}
	return fields
}

// ParseFieldSelector reads `spec.adapter=hall-1,status.phase!=Up`. Empty text selects everything. The faults name /fieldSelector.
func ParseFieldSelector(kind, text string) (FieldSelector, FieldErrors) {
	var found faults
	var selector FieldSelector
	for _, part := range splitRequirements(text, "/fieldSelector", &found) {
		field, value, ok := strings.Cut(part, "=")
		not := strings.HasSuffix(field, "!")
		field, value = strings.TrimSpace(strings.TrimSuffix(field, "!")), strings.TrimSpace(strings.TrimPrefix(value, "="))
		if !ok || field == "" {
			found.add("/fieldSelector", "%s is no requirement: write field=value or field!=value", show(part))
			continue
		}
		if possible := SelectableFields(kind); !slices.Contains(possible, field) {
			found.add("/fieldSelector", "a %s cannot be selected by %s, only by %s", kind, show(field), strings.Join(possible, ", "))
			continue
		}
		selector = append(selector, FieldRequirement{field, value, not})
	}
	return selector, found.list
}

// Matches tells whether a resource fulfils all requirements; field returns the value of a selectable field.
func (s FieldSelector) Matches(field func(name string) string) bool {
	for _, r := range s {
		if (field(r.Field) == r.Value) == r.Not {
			return false
		}
	}
	return true
}

// FieldOf returns the value of a selectable field of a resource, "" if it has none.
func FieldOf(o Object, field string) string {
	if field == "metadata.name" {
		return o.Meta().Name
	}
	switch o := o.(type) {
	case *Node:
		return deviceField(field, o.Spec.Network, "", string(o.Status.Phase))
	case *Adapter:
		return deviceField(field, o.Spec.Network, "", string(o.Status.Phase))
	case *GeneralNode:
		return deviceField(field, o.Spec.Network, o.Spec.Adapter, string(o.Status.Phase))
	case *AccessPolicy:
		return deviceField(field, o.Spec.Network, "", "")
	case *EnrollmentToken:
		return deviceField(field, "", "", string(o.Status.Phase))
	case *APIToken:
		return deviceField(field, "", "", string(o.Status.Phase))
	case *Replica:
		switch field {
		case "spec.service":
			return string(o.Spec.Service)
		case "spec.host":
			return o.Spec.Host
		case "status.state":
			return string(o.Status.State)
		}
	case *Event:
		switch field {
		case "regarding.kind":
			return o.Regarding.Kind
		case "regarding.name":
			return o.Regarding.Name
		case "type":
			return string(o.Type)
		case "reason":
			return o.Reason
		}
	}
	return ""
}

func deviceField(field, network, adapter, phase string) string {
	switch field {
	case "spec.network":
		return network
	case "spec.adapter":
		return adapter
	case "status.phase":
		return phase
	}
	return ""
}

// splitRequirements splits at the commas outside of parentheses.
func splitRequirements(text string, at pointer, found *faults) []string {
	if len(text) > MaxSelectorText {
		found.add(at, "is %d bytes long, at most %d are possible", len(text), MaxSelectorText)
		return nil
	}
	if strings.TrimSpace(text) == "" {
		return nil
	}
	var parts []string
	depth, start := 0, 0
	for i, r := range text {
		switch {
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			parts = append(parts, strings.TrimSpace(text[start:i]))
			start = i + 1
		}
	}
	parts = append(parts, strings.TrimSpace(text[start:]))
	if len(parts) > MaxSelectorRequirements {
		found.add(at, "has %d requirements, at most %d are possible", len(parts), MaxSelectorRequirements)
		return nil
	}
	return parts
}

func parseLabelRequirement(part string) (LabelRequirement, bool) {
	if key, values, ok := cutSet(part, " notin "); ok {
		return LabelRequirement{key, SelectNotIn, values}, values != nil
	}
	if key, values, ok := cutSet(part, " in "); ok {
		return LabelRequirement{key, SelectIn, values}, values != nil
	}
	if key, ok := strings.CutPrefix(part, "!"); ok {
		return LabelRequirement{strings.TrimSpace(key), SelectAbsent, nil}, key != ""
	}
	key, value, ok := strings.Cut(part, "=")
	if !ok {
		return LabelRequirement{part, SelectExists, nil}, part != ""
	}
	operator := SelectEquals
	if before, not := strings.CutSuffix(key, "!"); not {
		key, operator = before, SelectNotEquals
	}
	value = strings.TrimSpace(strings.TrimPrefix(value, "="))
	return LabelRequirement{strings.TrimSpace(key), operator, []string{value}}, !strings.ContainsAny(value, "=()")
}

// cutSet reads `key OPERATOR (a,b)`; values is nil if what follows the operator is no such list.
func cutSet(part, operator string) (key string, values []string, ok bool) {
	key, list, ok := strings.Cut(part, operator)
	if !ok {
		return "", nil, false
	}
	list = strings.TrimSpace(list)
	inner, opened := strings.CutPrefix(list, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	if !opened || !closed || strings.ContainsAny(inner, "()=") {
		return strings.TrimSpace(key), nil, true
	}
	for value := range strings.SplitSeq(inner, ",") {
		values = append(values, strings.TrimSpace(value))
	}
	if len(values) > maxSelectorValues {
		return strings.TrimSpace(key), nil, true
	}
	return strings.TrimSpace(key), values, true
}
