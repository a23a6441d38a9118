package hostdns

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	resolvedUplink = "/run/systemd/resolve/resolv.conf" // the name servers that resolved itself uses
	resolvedSocket = "/run/systemd/resolve/io.systemd.Resolve"
	resolvectlTime = 5 * time.Second
)

// resolvedStub is where systemd-resolved answers the host (systemd-resolved.service(8)).
var resolvedStub = netip.MustParseAddr("127.0.0.53")

func resolvedRuns() bool {
	if _, err := exec.LookPath("resolvectl"); err != nil {
		return false
	}
	_, err := os.Stat(resolvedSocket)
	return err == nil
}

// applyResolved hangs the resolver on the virtual interface for the overlay's domains only. resolvectl is the
// D-Bus client that comes with the service, so the agent needs none of its own. The settings vanish with the
// interface; after a restart of the service they are missing and are made again.
func (i *Integration) applyResolved(ctx context.Context, first bool) error {
	if !first {
		out, err := resolvectl(ctx, "domain", i.options.Interface)
		if err == nil && strings.Contains(out, "~"+i.options.Domains[0]) {
			return nil
		}
	}
	domains := []string{"domain", i.options.Interface}
	for _, d := range i.options.Domains {
		domains = append(domains, "~"+d)
	}
	for _, arguments := range [][]string{
		{"dns", i.options.Interface, i.options.Resolver.String()},
		domains,
		{"default-route", i.options.Interface, "no"},
		{"dnssec", i.options.Interface, "no"}, // the overlay's domain is not in the DNS tree
		{"llmnr", i.options.Interface, "no"},
		{"mdns", i.options.Interface, "no"},
	} {
		if _, err := resolvectl(ctx, arguments...); err != nil {
			return err
		}
	}
	return nil
}

func (i *Integration) undoResolved() error {
	_, err := resolvectl(context.Background(), "revert", i.options.Interface)
	return err
}

func resolvectl(ctx context.Context, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, resolvectlTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, "resolvectl", arguments...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("resolvectl %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
