package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/cyphonic/cyphonic/adapter"
	"github.com/cyphonic/cyphonic/internal/endpoint"
)

// writeStatus prints a status for people.
func writeStatus(w io.Writer, s adapter.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, arguments ...any) {
		_, _ = fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, arguments...))
	}
	state := s.Phase
	if s.Reason != "" {
		state += ": " + s.Reason
	}
	line("Adapter", "%s (%s)", s.Name, s.Version)
	line("State", "%s", state)
	line("Authentication service", "%s", s.AuthenticationService)
	line("LAN", "%s", s.LAN.Interface)
	if s.LAN.Gateway.IsValid() {
		line("Gateway and resolver", "%s of %s, domain %s", s.LAN.Gateway, s.LAN.Prefix, s.LAN.Domain)
	}
	line("Dropped by the guard", "%s", drops(s.LAN))
	if err := t.Flush(); err != nil {
		return err
	}
	if err := writeGeneralNodes(w, s); err != nil {
		return err
	}
	return writeUnlisted(w, s)
}

func writeGeneralNodes(w io.Writer, s adapter.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(t, "\nGENERAL NODE\tMAC\tPORT\tSTATE\tFQDN\tVIRTUAL IPS\tSEEN BY THE NMS AS\tPEERS\n")
	locals := make(map[string]endpoint.LocalStatus, len(s.Locals))
	for _, l := range s.Locals {
		locals[l.FQDN] = l
	}
	for _, g := range s.GeneralNodes {
		state := string(g.Phase)
		if word, _, _ := strings.Cut(g.Reason, ":"); word != "" {
			state += " (" + word + ")"
		}
		l := locals[g.FQDN]
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", g.Name, g.MAC, dash(g.Port), state, dash(g.FQDN),
			dash(addresses(g.VirtualIPv4, g.VirtualIPv6)), dash(addressPort(l.Observed)), dash(peers(l)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return writeDetails(w, s)
}

// writeDetails prints the reasons that are too long for the table.
func writeDetails(w io.Writer, s adapter.Status) error {
	title := "\n"
	for _, g := range s.GeneralNodes {
		if _, details, found := strings.Cut(g.Reason, ":"); found {
			if _, err := fmt.Fprintf(w, "%s%s:%s\n", title, g.Name, details); err != nil {
				return err
			}
			title = ""
		}
	}
	return nil
}

func writeUnlisted(w io.Writer, s adapter.Status) error {
	if len(s.LAN.Unlisted) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(t, "\nNOT IN THE LIST\tPORT\n")
	for _, u := range s.LAN.Unlisted {
		_, _ = fmt.Fprintf(t, "%s\t%s\n", u.MAC, u.Port)
	}
	return t.Flush()
}

// drops lists the reasons that have counted.
func drops(l adapter.LANStatus) string {
	if l.Error != "" {
		return l.Error
	}
	var out []string
	for reason, n := range l.Drops {
		if n > 0 {
			out = append(out, fmt.Sprintf("%s %d", reason, n))
		}
	}
	slices.Sort(out)
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

func peers(l endpoint.LocalStatus) string {
	var out []string
	for _, p := range l.Peers {
		out = append(out, fmt.Sprintf("%s %s", p.FQDN, p.Path))
	}
	return strings.Join(out, ", ")
}

func addresses(list ...netip.Addr) string {
	var out []string
	for _, a := range list {
		if a.IsValid() {
			out = append(out, a.String())
		}
	}
	return strings.Join(out, ", ")
}

func addressPort(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
