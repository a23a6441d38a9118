package netconf

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
)

// Configure brings an existing utun interface into the wanted state and up, with ifconfig and route,
// which every macOS has. Addresses that are no longer wanted disappear with the interface.
func Configure(want Interface) error {
	if want.MTU != 0 {
		if err := run("ifconfig", want.Name, "mtu", strconv.Itoa(want.MTU)); err != nil {
			return err
		}
	}
	for _, p := range want.Addresses {
		if err := addAddress(want.Name, p); err != nil {
			return err
		}
	}
	if err := run("ifconfig", want.Name, "up"); err != nil {
		return err
	}
	for _, p := range want.Routes {
		if err := SetRoute(Route{Interface: want.Name, Destination: p}); err != nil {
			return err
		}
	}
	return nil
}

func addAddress(name string, p netip.Prefix) error {
	a := p.Addr().String()
	if p.Addr().Is4() {
		return run("ifconfig", name, "inet", p.String(), a, "alias")
	}
	return run("ifconfig", name, "inet6", a, "prefixlen", strconv.Itoa(p.Bits()), "alias")
}

// SetRoute adds or replaces a route into an interface.
func SetRoute(r Route) error {
	if r.Prohibit || r.Table != 0 {
		return ErrUnsupported
	}
	_ = DeleteRoute(r)
	return run("route", "-q", "-n", "add", family(r.Destination), r.Destination.Masked().String(), "-interface", r.Interface)
}

// DeleteRoute removes a route; a missing route is no error.
func DeleteRoute(r Route) error {
	if r.Prohibit || r.Table != 0 {
		return ErrUnsupported
	}
	_ = run("route", "-q", "-n", "delete", family(r.Destination), r.Destination.Masked().String(), "-interface", r.Interface)
	return nil
}

func family(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "-inet"
	}
	return "-inet6"
}

func run(name string, arguments ...string) error {
	out, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("netconf: %s %s: %w: %s", name, strings.Join(arguments, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
