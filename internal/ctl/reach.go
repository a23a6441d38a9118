package ctl

import (
	"context"
	"fmt"
	"slices"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/manifest"
	"github.com/cyphonic/cyphonic/internal/policy"
)

// wouldReach explains a pair as it is and as it would be with manifests, which replace resources of the same name here.
func (c *command) wouldReach(ctx context.Context, manager *client.Client, from, to target, flags *reachFlags) error {
	query, err := policy.ParseQuery(flags.protocol, flags.port)
	if err != nil {
		return &usageError{err}
	}
	resources, err := c.readDescribable(flags.manifests)
	if err != nil {
		return err
	}
	was, err := c.situation(ctx, manager, from, to, resources)
	if err != nil {
		return err
	}
	is := was.with(resources)
	before, after := was.explain(query), is.explain(query)
	if is.from == nil || is.to == nil {
		return &notFoundError{fmt.Errorf("there is no %s, and the manifests describe none", missing(is, from, to))}
	}
	if c.output == "json" || c.output == "yaml" {
		err = c.printObject(map[string]api.Reachability{"before": before, "after": after})
	} else {
		fmt.Fprintln(c.Stdout, c.paint(c.Stdout, styleHeading, "Now:"))
		if err := c.printReachability(before); err != nil {
			return err
		}
		fmt.Fprintln(c.Stdout, c.paint(c.Stdout, styleHeading, "\nWith the manifests:"))
		err = c.printReachability(after)
	}
	if err == nil && !after.Allowed {
		return accessNo
	}
	return err
}

func missing(s situation, from, to target) target {
	if s.from == nil {
		return from
	}
	return to
}

// situation is a pair of devices and the policies that may speak of it.
type situation struct {
	names    [2]target
	from, to api.Object // nil: it does not exist
	policies []*api.AccessPolicy
}

func (c *command) situation(ctx context.Context, manager *client.Client, from, to target, resources []manifest.Resource) (situation, error) {
	s := situation{names: [2]target{from, to}}
	var err error
	if s.from, err = live(ctx, manager, from); err != nil {
		return s, err
	}
	if s.to, err = live(ctx, manager, to); err != nil {
		return s, err
	}
	kind, _ := api.KindNamed("AccessPolicy")
	for _, network := range s.with(resources).networks() {
		list, err := manager.List(ctx, kind, client.ListOptions{Fields: "spec.network=" + network})
		if err != nil {
			return s, err
		}
		for _, o := range list.Items {
			s.policies = append(s.policies, o.(*api.AccessPolicy))
		}
	}
	return s, nil
}

// networks are those of the devices; policies of others have nothing to say.
func (s situation) networks() (networks []string) {
	for _, o := range []api.Object{s.from, s.to} {
		if subject, ok := policy.SubjectOf(orEmpty(o)); ok && !slices.Contains(networks, subject.Network) {
			networks = append(networks, subject.Network)
		}
	}
	return networks
}

// orEmpty is a device of no network in place of none.
func orEmpty(o api.Object) api.Object {
	if o == nil {
		return &api.Adapter{}
	}
	return o
}

// with is the situation in which the manifests are applied.
func (s situation) with(resources []manifest.Resource) situation {
	is := situation{names: s.names, from: s.from, to: s.to, policies: slices.Clone(s.policies)}
	for _, r := range resources {
		name := target{kindOfObject(r.Object), r.Object.Meta().Name}
		switch {
		case name.String() == s.names[0].String():
			is.from = r.Object
		case name.String() == s.names[1].String():
			is.to = r.Object
		}
		if p, ok := r.Object.(*api.AccessPolicy); ok {
			is.policies = slices.DeleteFunc(is.policies, func(old *api.AccessPolicy) bool { return old.Metadata.Name == p.Metadata.Name })
			is.policies = append(is.policies, p)
		}
	}
	return is
}

func (s situation) explain(q policy.Query) api.Reachability {
	for i, o := range []api.Object{s.from, s.to} {
		reason := ""
		if o == nil {
			reason = fmt.Sprintf("there is no %s", s.names[i])
		} else if _, ok := policy.SubjectOf(o); !ok {
			reason = fmt.Sprintf("%s is disabled", s.names[i])
		}
		if reason != "" {
			return api.Reachability{From: s.names[0].String(), To: s.names[1].String(), Reasons: []api.ReachabilityReason{{Reason: reason}}}
		}
	}
	from, _ := policy.SubjectOf(s.from)
	to, _ := policy.SubjectOf(s.to)
	set, _ := policy.Compile(s.policies)
	return policy.Explain(set, from, to, q).Answer()
}
