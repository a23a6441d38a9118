package ctl

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

// replica says how a replica is and, because that is what one needs to know before it is drained, who else serves.
func (d *describer) replica(ctx context.Context, text *strings.Builder, r *api.Replica) error {
	now, status := d.c.Now(), r.Status
	d.line(text, "Name", r.Metadata.Name)
	d.line(text, "Kind", r.KindName())
	d.line(text, "Service", string(r.Spec.Service))
	d.line(text, "Host", r.Spec.Host)
	state := d.c.paint(d.c.Stdout, styleOfState(string(status.State)), string(status.State))
	fmt.Fprintf(text, "%s       %s since %s, %s\n", d.heading("State:"), state, orDash(sinceText(status.Since, now)), meaningOf(status.State))
	d.line(text, "Drain", first(drainText(r, now), "nobody has asked it to"))
	d.line(text, "Started", sinceText(status.Started, now))
	d.line(text, "Version", status.Version)
	d.line(text, "Addresses", strings.Join(status.Addresses, ", "))
	if len(status.Advertised) > 0 {
		d.line(text, "Advertised", strings.Join(status.Advertised, ", "))
	}
	load := status.Load
	d.line(text, "Load", fmt.Sprintf("%s cores, %s, %s requests/s, %s", coresText(load.Cpu), memoryText(load.MemoryBytes), rateText(load.RequestsPerSecond), count(load.Sessions, "session", "sessions")))
	others, err := d.manager.List(ctx, replicaKind(), client.ListOptions{Fields: "spec.service=" + string(r.Spec.Service)})
	if err != nil {
		return err
	}
	rest := replicasIn(others.Items)
	rest = slices.DeleteFunc(rest, func(o *api.Replica) bool { return o.Metadata.Name == r.Metadata.Name })
	if len(rest) == 0 {
		d.line(text, "Others", fmt.Sprintf("none: there is no other replica of %s", r.Spec.Service))
		return nil
	}
	rows := [][]string{{"NAME", "HOST", "STATE", "SINCE", "SESSIONS"}}
	for _, o := range rest {
		rows = append(rows, []string{o.Metadata.Name, o.Spec.Host, string(o.Status.State), age(o.Status.Since, now), strconv.FormatInt(o.Status.Load.Sessions, 10)})
	}
	d.rows(text, fmt.Sprintf("Other replicas of %s", r.Spec.Service), rows)
	return nil
}

// meaningOf explains a state of a replica.
func meaningOf(state api.ReplicaState) string {
	switch state {
	case api.ReplicaStateStarting:
		return "cannot serve yet"
	case api.ReplicaStateReady:
		return "serves"
	case api.ReplicaStateLeaving:
		return "serves what still comes and gives away what it owns"
	case api.ReplicaStateFinishing:
		return "takes nothing new and ends what is under way"
	}
	return "in a state that this program does not know"
}

// observed shows a status that reads better as a table, and tells whether it is one; its conditions follow by themselves.
func (d *describer) observed(text *strings.Builder, o api.Object) bool {
	now := d.c.Now()
	switch o := o.(type) {
	case *api.BGPPeer:
		rows := [][]string{{"HOST", "STATE", "SINCE", "ANNOUNCED", "RECEIVED", "BFD", "REASON"}}
		for _, s := range o.Status.Sessions {
			rows = append(rows, []string{
				s.Host, string(s.State), age(s.Since, now), strconv.FormatInt(s.Advertised, 10), strconv.FormatInt(s.Received, 10), string(s.Bfd), s.Reason,
			})
		}
		d.rowsOr(text, "Sessions", rows, "no host has one")
		return true
	case *api.BGPAdvertisement:
		rows := [][]string{{"PREFIX", "HOSTS"}}
		for _, p := range o.Status.Prefixes {
			rows = append(rows, []string{p.Prefix, strings.Join(p.Hosts, ", ")})
		}
		d.rowsOr(text, "Announced", rows, "nothing")
		return true
	}
	return false
}

func (d *describer) rowsOr(text *strings.Builder, heading string, rows [][]string, none string) {
	if len(rows) == 1 {
		d.line(text, heading, none)
		return
	}
	d.rows(text, heading, rows)
}

// rows writes an indented table; the first row has the headings, and a column STATE is coloured.
func (d *describer) rows(text *strings.Builder, heading string, rows [][]string) {
	fmt.Fprintf(text, "%s\n", d.heading(heading+":"))
	t := d.c.newTable(rows[0]...)
	for _, row := range rows[1:] {
		t.add(row...)
	}
	var lines strings.Builder
	t.line(&lines, t.headings, func(int, string) style { return styleHeading })
	for _, row := range t.rows {
		t.line(&lines, row, t.styleOf)
	}
	for line := range strings.Lines(lines.String()) {
		text.WriteString("  " + line)
	}
}

func replicaKind() api.Kind {
	kind, _ := api.KindNamed("Replica")
	return kind
}

func replicasIn(objects []api.Object) []*api.Replica {
	all := make([]*api.Replica, 0, len(objects))
	for _, o := range objects {
		all = append(all, o.(*api.Replica))
	}
	return all
}
