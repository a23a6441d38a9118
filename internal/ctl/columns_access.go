package ctl

import (
	"strconv"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

// accessColumns are those of the kinds that are about the manager itself.
func accessColumns(kind string) (narrow, further []column) {
	switch kind {
	case "Role":
		return []column{of("RULES", func(r *api.Role) string { return strconv.Itoa(len(r.Spec.Rules)) })},
			[]column{of("ALLOWS", func(r *api.Role) string { return roleRulesText(r.Spec.Rules) })}
	case "RoleBinding":
		return roleBindingColumns()
	case "APIToken":
		return apiTokenColumns()
	case "GitSource":
		return gitSourceColumns()
	case "Event":
		return eventColumns()
	}
	return nil, nil
}

func roleBindingColumns() (narrow, further []column) {
	narrow = []column{
		of("ROLE", func(b *api.RoleBinding) string { return b.Spec.Role }),
		of("SUBJECTS", func(b *api.RoleBinding) string {
			var parts []string
			for _, s := range b.Spec.Subjects {
				parts = append(parts, lower(string(s.Kind))+"/"+s.Name)
			}
			return strings.Join(parts, ",")
		}),
		of("NETWORKS", func(b *api.RoleBinding) string { return first(strings.Join(b.Spec.Networks, ","), "*") }),
	}
	return narrow, nil
}

func apiTokenColumns() (narrow, further []column) {
	narrow = []column{
		of("PHASE", func(t *api.APIToken) string { return string(t.Status.Phase) }),
		of("EXPIRES", func(t *api.APIToken) string { return timeText(t.Status.ExpirationTimestamp) }),
		of("DESCRIPTION", func(t *api.APIToken) string { return t.Spec.Description }),
	}
	further = []column{
		of("RULES", func(t *api.APIToken) string { return roleRulesText(t.Spec.Rules) }),
	}
	return narrow, further
}

func gitSourceColumns() (narrow, further []column) {
	narrow = []column{
		of("URL", func(g *api.GitSource) string { return g.Spec.Url }),
		of("BRANCH", func(g *api.GitSource) string { return g.Spec.Branch }),
		of("COMMIT", func(g *api.GitSource) string { return short(g.Status.AppliedCommit) }),
		of("SYNC", gitSyncText),
		of("DRIFTED", func(g *api.GitSource) string { return strconv.FormatInt(g.Status.Drifted, 10) }),
	}
	further = []column{
		of("PATH", func(g *api.GitSource) string { return g.Spec.Path }),
		of("OBSERVED", func(g *api.GitSource) string { return short(g.Status.ObservedCommit) }),
		of("RESOURCES", func(g *api.GitSource) string { return strconv.FormatInt(g.Status.Resources, 10) }),
		of("ROLE", func(g *api.GitSource) string { return g.Spec.Role }),
		{"LAST-SYNC", func(o api.Object, now time.Time) string { return age(o.(*api.GitSource).Status.LastSyncTimestamp, now) }},
	}
	return narrow, further
}

// gitSyncText says how a git source is in one word.
func gitSyncText(g *api.GitSource) string {
	switch {
	case g.Spec.Suspend:
		return "Suspended"
	case len(g.Status.Failures) > 0:
		return "Failed"
	}
	state := "Pending"
	for _, c := range g.Status.Conditions {
		switch {
		case c.Status == api.ConditionStatusFalse && c.Type != "InSync":
			return "Failed"
		case c.Type == "InSync" && c.Status == api.ConditionStatusTrue:
			state = "Ready"
		case c.Type == "InSync" && c.Status == api.ConditionStatusFalse:
			state = "Drifted"
		}
	}
	return state
}

func eventColumns() (narrow, further []column) {
	narrow = []column{
		{"LAST", func(o api.Object, now time.Time) string { return age(o.(*api.Event).LastTimestamp, now) }},
		of("TYPE", func(e *api.Event) string { return string(e.Type) }),
		of("REASON", func(e *api.Event) string { return e.Reason }),
		of("REGARDING", func(e *api.Event) string { return referenceText(e.Regarding) }),
		of("COUNT", func(e *api.Event) string { return strconv.FormatInt(max(1, e.Count), 10) }),
		of("MESSAGE", func(e *api.Event) string { return e.Message }),
	}
	further = []column{
		of("SOURCE", func(e *api.Event) string { return e.Source }),
		of("NETWORK", func(e *api.Event) string { return e.Network }),
		of("NAME", func(e *api.Event) string { return e.Metadata.Name }),
	}
	return narrow, further
}

func roleRulesText(rules []api.RoleRule) string {
	var parts []string
	for _, r := range rules {
		part := strings.Join(r.Verbs, ",") + " " + strings.Join(r.Kinds, ",")
		if len(r.Networks) > 0 && r.Networks[0] != "*" {
			part += " in " + strings.Join(r.Networks, ",")
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

func referenceText(r api.ObjectReference) string { return lower(r.Kind) + "/" + r.Name }

// short is the beginning of a commit's hash, as git shows it.
func short(hash string) string { return hash[:min(len(hash), 10)] }
