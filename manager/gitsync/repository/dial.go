package repository

import (
	"context"
	"net"
	"net/netip"
	"syscall"
)

// dialContext connects to a git server, or to the proxy in front of it, which is the operator's and
// goes where it may. The names of servers are chosen by whoever writes git sources: they do not lead
// to this machine, unless the url says so, nor to its link, where clouds offer credentials.
func dialContext(host string) func(context.Context, string, string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: dialTimeout}
	guarded := &net.Dialer{Timeout: dialTimeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return checkAddress(at.Addr().Unmap().WithZone(""), loopback(host))
	}}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if name, _, err := net.SplitHostPort(address); err == nil && name != host {
			return plain.DialContext(ctx, network, address)
		}
		return guarded.DialContext(ctx, network, address)
	}
}

func checkAddress(a netip.Addr, thisMachine bool) error {
	switch {
	case a.IsLoopback() && !thisMachine:
		return faultf(ReasonInvalidURL, "the name of the server leads to %s, which is this machine: write localhost if that is meant", a)
	case a.IsLinkLocalUnicast(), a.IsUnspecified(), a.IsMulticast():
		return faultf(ReasonInvalidURL, "the address %s cannot be that of a git server", a)
	}
	return nil
}
