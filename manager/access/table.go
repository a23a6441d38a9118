package access

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/cache"
)

// subject is who a binding names.
type subject struct {
	kind Kind // User, group, Token or Certificate
	name string
}

// group is the sort of subject that is no principal by itself.
const group Kind = "Group"

// apiToken is what is known of an APIToken.
type apiToken struct {
	name, uid string
	notAfter  time.Time
}

// table is what roles, role bindings and API tokens of one moment say, ready to be asked. It is never changed after it was compiled.
type table struct {
	moment
	version  uint64                    // grows with every table
	rules    map[string][]api.RoleRule // by name of the role
	whole    map[string]*rights        // by name of the role, not narrowed
	subjects map[subject]*rights
	hashes   map[string]apiToken // by hash of the token
	named    map[string]apiToken // the same by name
	parsed   map[*cache.Item]any // what was decoded: an item never changes
}

// moment is the views that a table is compiled from.
type moment struct{ roles, bindings, tokens cache.View }

func (m moment) same(other moment) bool {
	return m.roles.Same(other.roles) && m.bindings.Same(other.bindings) && m.tokens.Same(other.tokens)
}

// compile makes a table. Resources that cannot be read give no rights; what was is asked for what it has decoded already.
func compile(m moment, was *table) *table {
	t := &table{
		moment: m, version: 1, rules: map[string][]api.RoleRule{}, whole: map[string]*rights{},
		subjects: map[subject]*rights{}, hashes: map[string]apiToken{}, named: map[string]apiToken{}, parsed: map[*cache.Item]any{},
	}
	if was != nil {
		t.version = was.version + 1
	}
	each(m.roles, was, t, func(o *api.Role) {
		r := newRights()
		r.grant("role "+o.Metadata.Name, o.Spec.Rules, nil)
		r.roles = []string{o.Metadata.Name}
		t.rules[o.Metadata.Name], t.whole[o.Metadata.Name] = o.Spec.Rules, r
	})
	each(m.bindings, was, t, t.bind)
	each(m.tokens, was, t, func(o *api.APIToken) {
		if !o.Metadata.DeletionTimestamp.IsZero() || o.Status.TokenHash == "" {
			return
		}
		token := apiToken{o.Metadata.Name, o.Metadata.Uid, o.Status.ExpirationTimestamp}
		t.hashes[o.Status.TokenHash], t.named[o.Metadata.Name] = token, token
		if len(o.Spec.Rules) > 0 {
			t.of(subject{Token, o.Metadata.Name}).grant("the rules of the token", o.Spec.Rules, nil)
		}
	})
	for _, r := range t.subjects {
		slices.Sort(r.roles)
		r.roles = slices.Compact(r.roles)
	}
	return t
}

// bind gives the rights of a role to the subjects of a binding. A binding to a role that does not exist gives nothing.
func (t *table) bind(o *api.RoleBinding) {
	rules, ok := t.rules[o.Spec.Role]
	if !ok || !o.Metadata.DeletionTimestamp.IsZero() {
		return
	}
	why := "role " + o.Spec.Role + " (binding " + o.Metadata.Name + ")"
	for _, s := range o.Spec.Subjects {
		r := t.of(subject{Kind(s.Kind), s.Name})
		r.grant(why, rules, o.Spec.Networks)
		r.roles = append(r.roles, o.Spec.Role)
	}
}

func (t *table) of(s subject) *rights {
	r := t.subjects[s]
	if r == nil {
		r = newRights()
		t.subjects[s] = r
	}
	return r
}

// each decodes the items of a view that the table before has not decoded, and visits all.
func each[T any](v cache.View, was, t *table, visit func(*T)) {
	v.Ascend("", func(item *cache.Item) bool {
		var o *T
		if was != nil {
			o, _ = was.parsed[item].(*T)
		}
		if o == nil {
			o = new(T)
			if err := json.Unmarshal(item.Value, o); err != nil {
				return true // was written by something that is no manager
			}
		}
		t.parsed[item] = o
		visit(o)
		return true
	})
}

// rightsOf visits the rights of a principal until visit returns false.
func (t *table) rightsOf(p Principal, visit func(*rights) bool) {
	switch p.Kind {
	case GitSource:
		visit(t.whole[p.Role])
	case User:
		if !visit(t.subjects[subject{User, p.Name}]) {
			return
		}
		for _, g := range p.Groups {
			if !visit(t.subjects[subject{group, g}]) {
				return
			}
		}
	case Token, Certificate:
		visit(t.subjects[subject{p.Kind, p.Name}])
	}
}
