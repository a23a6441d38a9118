package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cyphonic/cyphonic/node"
)

// writeStatus prints a status for people.
func writeStatus(w io.Writer, s node.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, arguments ...any) {
		_, _ = fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, arguments...))
	}
	state := s.Phase
	if s.Reason != "" {
		state += ": " + s.Reason
	}
	line("Node", "%s (%s)", s.Name, s.Version)
	line("State", "%s", state)
	line("Node ID", "%s", s.NodeID)
	line("Authentication service", "%s", s.AuthenticationService)
	if s.FQDN != "" {
		line("FQDN", "%s", s.FQDN)
		line("Virtual IPs", "%s on %s", addresses(s.VirtualIPv4, s.VirtualIPv6), s.Interface)
		line("Resolver", "%s (%s)", s.Resolver, s.ResolverIntegration)
	}
	for _, l := range s.Locals {
		if l.Registered {
			line("Seen by the NMS as", "%s%s", l.Observed, map[bool]string{true: " (behind NAT)"}[l.NATed])
		}
		line("Certificate until", "%s", l.NotAfter.Local().Format(time.DateTime))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return writePeers(w, s)
}

func writePeers(w io.Writer, s node.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	header := "\nPEER\tVIRTUAL IPS\tPATH\tADDRESS\tRTT\tSENT\tRECEIVED\tCIPHER\n"
	for _, l := range s.Locals {
		for _, p := range l.Peers {
			path := p.Path
			if !p.Working {
				path += " (no answer)"
			}
			_, _ = fmt.Fprintf(t, "%s%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", header, p.FQDN, addresses(p.VirtualIPv4, p.VirtualIPv6), path,
				p.Address, roundTrip(p.RTTSeconds), size(p.TxBytes), size(p.RxBytes), p.Cipher)
			header = ""
		}
	}
	return t.Flush()
}

// roundTrip prints a time that is 0 while it is not known.
func roundTrip(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", seconds*1000)
}

// addresses joins those that exist.
func addresses(list ...netip.Addr) string {
	var out []string
	for _, a := range list {
		if a.IsValid() {
			out = append(out, a.String())
		}
	}
	return strings.Join(out, ", ")
}

// size prints bytes with a binary prefix.
func size(n uint64) string {
	value, unit := float64(n), 0
	for value >= 1024 && unit < 4 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[unit-1])
}
