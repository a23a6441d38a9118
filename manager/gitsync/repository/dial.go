package repository

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
)

// dialFunc connects to an address host:port.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dialServer connects to a git server. The names of servers are chosen by whoever writes git sources: they do not lead to
// this machine, unless the url says so, nor to its link, where clouds offer credentials.
func dialServer(u *url.URL) dialFunc {
	thisMachine := loopback(u.Hostname())
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		lookup, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		addresses, err := net.DefaultResolver.LookupNetIP(lookup, "ip", host)
		if err != nil {
			return nil, err
		}
		faults := []error{fmt.Errorf("connect to %s", host)}
		for _, a := range addresses {
			if err := checkAddress(a.Unmap().WithZone(""), thisMachine); err != nil {
				faults = append(faults, err)
				continue
			}
			conn, err := dialAny()(ctx, network, net.JoinHostPort(a.Unmap().String(), port)) // the address that was checked
			if err == nil {
				return conn, nil
			}
			faults = append(faults, err)
		}
		return nil, errors.Join(faults...)
	}
}

// dialAny connects to a proxy, which is the operator's and goes where it may.
func dialAny() dialFunc { return (&net.Dialer{Timeout: dialTimeout}).DialContext }

func checkAddress(a netip.Addr, thisMachine bool) error {
	switch {
	case a.IsLoopback() && !thisMachine:
		return faultf(ReasonInvalidURL, "the name of the server leads to %s, which is this machine: write localhost if that is meant", a)
	case a.IsLinkLocalUnicast(), a.IsUnspecified(), a.IsMulticast():
		return faultf(ReasonInvalidURL, "the address %s cannot be that of a git server", a)
	}
	return nil
}
