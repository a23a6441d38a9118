package api

import (
	"slices"
	"strings"
)

// Bounds of roles and role bindings.
const (
	MaxRoleRules        = 64
	MaxRoleRuleKinds    = 32
	MaxRoleRuleNetworks = 256
	MaxRoleSubjects     = 256
	maxRoleSubjectName  = 256
)

// Any stands for every verb, kind or network in the rule of a role.
const Any = "*"

// Verbs are what a role may allow. Report writes the status.
func Verbs() []string {
	return []string{"get", "list", "watch", "create", "update", "patch", "delete", "report"}
}

// PseudoKinds are what a role may speak of besides the kinds of resources.
func PseudoKinds() []string {
	return []string{"Audit", "Backup", "Restore", "Metrics", "Plan", "Reachability"}
}

// BuiltInRoles are the names of the roles that every installation begins with.
func BuiltInRoles() []string { return []string{"admin", "editor", "viewer"} }

func (*Role) KindName() string     { return "Role" }
func (r *Role) Meta() *ObjectMeta  { return &r.Metadata }
func (r *Role) SetType()           { r.ApiVersion, r.Kind = Version, r.KindName() }
func (r *Role) SpecPart() any      { return &r.Spec }
func (r *Role) StatusPart() any    { return &r.Status }
func (r *Role) SetStatus(o Object) { r.Status = o.(*Role).Status }

// References returns nothing: the networks of a rule may be yet to come.
func (r *Role) References() []Reference { return nil }

// Default has nothing to fill in: no networks are all.
func (r *Role) Default() {}

// Validate checks the rules.
func (r *Role) Validate() FieldErrors {
	var found faults
	validateEnvelope(r, r.ApiVersion, r.Kind, &found)
	if len(r.Spec.Rules) == 0 {
		found.add("/spec/rules", "is missing: give one rule at least")
	}
	validateRoleRules(r.Spec.Rules, "/spec/rules", &found)
	validateConditions(r.Status.Conditions, &found)
	return found.list
}

func validateRoleRules(rules []RoleRule, at pointer, found *faults) {
	if len(rules) > MaxRoleRules {
		found.add(at, "has %d rules, at most %d are possible", len(rules), MaxRoleRules)
	}
	for i, rule := range rules {
		at := at.index(i)
		validateWords(rule.Verbs, append(Verbs(), Any), at.key("verbs"), found)
		if len(rule.Kinds) > MaxRoleRuleKinds {
			found.add(at.key("kinds"), "has %d kinds, at most %d are possible", len(rule.Kinds), MaxRoleRuleKinds)
		}
		validateWords(rule.Kinds, append(append(roleKinds(), PseudoKinds()...), Any), at.key("kinds"), found)
		validateRoleNetworks(rule.Networks, true, at.key("networks"), found)
	}
}

func roleKinds() []string {
	var names []string
	for _, kind := range Kinds() {
		names = append(names, kind.Name)
	}
	return names
}

// validateWords checks a list that must not be empty and has only certain words.
func validateWords(words, possible []string, at pointer, found *faults) {
	if len(words) == 0 {
		found.add(at, "is missing: give one at least, %q for all", Any)
	}
	for i, word := range words {
		if !slices.Contains(possible, word) {
			found.add(at.index(i), "is %s, must be one of %s", show(word), strings.Join(possible, ", "))
		}
	}
}

func validateRoleNetworks(networks []string, wildcard bool, at pointer, found *faults) {
	if len(networks) > MaxRoleRuleNetworks {
		found.add(at, "has %d networks, at most %d are possible", len(networks), MaxRoleRuleNetworks)
	}
	for i, network := range networks {
		if network == Any && wildcard {
			continue
		}
		requireName(network, at.index(i), found)
	}
}

func (*RoleBinding) KindName() string     { return "RoleBinding" }
func (b *RoleBinding) Meta() *ObjectMeta  { return &b.Metadata }
func (b *RoleBinding) SetType()           { b.ApiVersion, b.Kind = Version, b.KindName() }
func (b *RoleBinding) SpecPart() any      { return &b.Spec }
func (b *RoleBinding) StatusPart() any    { return &b.Status }
func (b *RoleBinding) SetStatus(o Object) { b.Status = o.(*RoleBinding).Status }

// References returns the role. Subjects are none: most are not resources.
func (b *RoleBinding) References() []Reference {
	return []Reference{{"Role", b.Spec.Role, "/spec/role"}}
}

// Default has nothing to fill in.
func (b *RoleBinding) Default() {}

// Validate checks role, subjects and networks.
func (b *RoleBinding) Validate() FieldErrors {
	var found faults
	validateEnvelope(b, b.ApiVersion, b.Kind, &found)
	requireName(b.Spec.Role, "/spec/role", &found)
	if n := len(b.Spec.Subjects); n == 0 || n > MaxRoleSubjects {
		found.add("/spec/subjects", "has %d subjects, must have 1 … %d", n, MaxRoleSubjects)
	}
	for i, subject := range b.Spec.Subjects {
		at := pointer("/spec/subjects").index(i)
		if !subject.Kind.Valid() {
			found.add(at.key("kind"), "is %s, must be one of User, Group, Token, Certificate", show(subject.Kind))
		}
		if subject.Name == "" || len(subject.Name) > maxRoleSubjectName {
			found.add(at.key("name"), "is %d bytes long, must be 1 … %d", len(subject.Name), maxRoleSubjectName)
		}
		if subject.Kind == RoleSubjectKindToken {
			requireName(subject.Name, at.key("name"), &found)
		}
	}
	validateRoleNetworks(b.Spec.Networks, false, "/spec/networks", &found)
	validateConditions(b.Status.Conditions, &found)
	return found.list
}
