package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

// hostTarget is how a host is named where replicas are meant that run on it; a host is no resource.
const hostTarget = "host"

// replicaDrain drains live replicas: one, or all of a host.
type replicaDrain struct {
	c       *command
	manager *client.Client
	what    string // as it was named: replica/NAME or host/NAME
	flags   drainFlags
	last    map[string]*api.Replica // those that are left, by name, as they were last seen
}

// hostNamed reads host/NAME and host NAME.
func hostNamed(args []string) (name string, ok bool) {
	if len(args) == 2 && args[0] == hostTarget {
		return args[1], true
	}
	if len(args) != 1 {
		return "", false
	}
	word, name, _ := strings.Cut(args[0], "/")
	return name, word == hostTarget
}

func (c *command) drainHost(ctx context.Context, manager *client.Client, host string, flags drainFlags) error {
	if host == "" {
		return &usageError{errors.New("name the host to drain, as in host/host-a")}
	}
	all, err := manager.List(ctx, replicaKind(), client.ListOptions{})
	if err != nil {
		return fmt.Errorf("replicas: %w", err)
	}
	replicas, hosts := replicasIn(all.Items), map[string]bool{}
	for _, r := range replicas {
		hosts[r.Spec.Host] = true
	}
	wanted := slices.DeleteFunc(slices.Clone(replicas), func(r *api.Replica) bool { return r.Spec.Host != host })
	if len(wanted) == 0 {
		known := make([]string, 0, len(hosts))
		for h := range hosts {
			known = append(known, h)
		}
		slices.Sort(known)
		return &notFoundError{fmt.Errorf("no live replica runs on host %q; hosts with replicas: %s", host, first(strings.Join(known, ", "), "none"))}
	}
	return c.drainReplicas(ctx, manager, hostTarget+"/"+host, wanted, replicas, flags)
}

func (c *command) drainReplica(ctx context.Context, manager *client.Client, t target, flags drainFlags) error {
	object, err := manager.Get(ctx, t.kind, t.name)
	if err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	all, err := manager.List(ctx, t.kind, client.ListOptions{})
	if err != nil {
		return fmt.Errorf("replicas: %w", err)
	}
	return c.drainReplicas(ctx, manager, t.String(), []*api.Replica{object.(*api.Replica)}, replicasIn(all.Items), flags)
}

func (c *command) drainReplicas(ctx context.Context, manager *client.Client, what string, wanted, all []*api.Replica, flags drainFlags) error {
	if flags.undo {
		return &usageError{fmt.Errorf("%s: a replica that drains does not come back: start another one", what)}
	}
	if missing := withoutOthers(wanted, all); len(missing) > 0 && !flags.force {
		return fmt.Errorf("%s: no other replica of %s is Ready, so that nobody would serve its clients: start one first, or use --force", what, strings.Join(missing, ", "))
	}
	// Managers last: one of them answers here.
	slices.SortStableFunc(wanted, func(a, b *api.Replica) int { return managers(a) - managers(b) })
	d := &replicaDrain{c: c, manager: manager, what: what, flags: flags, last: map[string]*api.Replica{}}
	for _, r := range wanted {
		asked, err := manager.DrainReplica(ctx, r.Metadata.Name, false)
		switch {
		case client.IsNotFound(err): // it has gone by itself
			continue
		case err != nil:
			return fmt.Errorf("replica/%s: %w", r.Metadata.Name, err)
		}
		d.last[r.Metadata.Name] = asked
		if _, err := fmt.Fprintf(c.Stdout, "%s is told to drain (%s, %s)\n", nameOf(r), asked.Status.State, sessionsText(asked)); err != nil {
			return err
		}
	}
	if flags.timeout == 0 {
		return nil
	}
	return d.wait(ctx)
}

func managers(r *api.Replica) int {
	if r.Spec.Service == api.ServiceNameManager {
		return 1
	}
	return 0
}

// withoutOthers are the services of which only those that shall be drained are Ready.
func withoutOthers(wanted, all []*api.Replica) (services []string) {
	for _, w := range wanted {
		service := string(w.Spec.Service)
		other := slices.ContainsFunc(all, func(r *api.Replica) bool {
			named := slices.ContainsFunc(wanted, func(w *api.Replica) bool { return w.Metadata.Name == r.Metadata.Name })
			return !named && r.Spec.Service == w.Spec.Service && r.Status.State == api.ReplicaStateReady && r.Status.DrainRequested.IsZero()
		})
		if !other && w.Status.State == api.ReplicaStateReady && !slices.Contains(services, service) {
			services = append(services, service)
		}
	}
	slices.Sort(services)
	return services
}

// wait says what becomes of the replicas until all have gone.
func (d *replicaDrain) wait(ctx context.Context) error {
	bar := d.c.newProgress("draining " + d.what)
	defer bar.done()
	var unheard error // why nothing is known any more
	err := poll(ctx, d.flags.timeout, func() (bool, error) {
		lines, err := d.look(ctx)
		switch code := client.StatusOf(err); {
		case err != nil && (code == 0 || code == http.StatusServiceUnavailable):
			unheard = err // the manager that answered may be among those that have gone, and the replicas go on draining without one
			return false, nil
		case err != nil:
			return false, err
		}
		unheard = nil
		if len(lines) > 0 {
			bar.done()
			if _, err := fmt.Fprintln(d.c.Stdout, strings.Join(lines, "\n")); err != nil {
				return false, err
			}
		}
		bar.say(fmt.Sprintf("draining %s: %s", d.what, strings.Join(d.left(), ", ")))
		return len(d.last) == 0, nil
	})
	bar.done()
	switch {
	case errors.Is(err, errTimeout) && unheard != nil:
		return fmt.Errorf("%s: told to drain, but no manager says any more how far it is (last: %s): %w", d.what, someOf(d.left(), maxStillUp), unheard)
	case errors.Is(err, errTimeout):
		return fmt.Errorf("%s: still there after %s: %s; it goes on draining: wait longer with --timeout, and look with describe replica", d.what, d.flags.timeout, someOf(d.left(), maxStillUp))
	case err != nil:
		return fmt.Errorf("%s: %w", d.what, err)
	}
	_, err = fmt.Fprintln(d.c.Stdout, d.what, "is drained")
	return err
}

// look finds out how the replicas are, and returns a line for each whose state has changed.
func (d *replicaDrain) look(ctx context.Context) (lines []string, err error) {
	list, err := d.manager.List(ctx, replicaKind(), client.ListOptions{})
	if err != nil {
		return nil, err
	}
	now := map[string]*api.Replica{}
	for _, r := range replicasIn(list.Items) {
		now[r.Metadata.Name] = r
	}
	for _, name := range sortedNames(d.last) {
		was, is := d.last[name], now[name]
		switch {
		case is == nil || is.Metadata.Uid != was.Metadata.Uid: // another one of its name is not meant
			delete(d.last, name)
			if d.what != nameOf(was) {
				lines = append(lines, nameOf(was)+" is drained")
			}
		case is.Status.State != was.Status.State:
			lines = append(lines, fmt.Sprintf("%s is %s (%s)", nameOf(is), is.Status.State, sessionsText(is)))
			d.last[name] = is
		default:
			d.last[name] = is
		}
	}
	return lines, nil
}

// left is the replicas that are still there, for people.
func (d *replicaDrain) left() (texts []string) {
	for _, name := range sortedNames(d.last) {
		r := d.last[name]
		texts = append(texts, fmt.Sprintf("%s %s, %s", nameOf(r), r.Status.State, sessionsText(r)))
	}
	return texts
}

func sessionsText(r *api.Replica) string { return count(r.Status.Load.Sessions, "session", "sessions") }

func sortedNames(replicas map[string]*api.Replica) []string {
	names := make([]string, 0, len(replicas))
	for name := range replicas {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
