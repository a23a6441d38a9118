package main

import (
	"net"
	"net/netip"
	"sync"
)

// bounded is a listener that strangers reach: it keeps few connections, and fewer of each address.
type bounded struct {
	net.Listener

	mu        sync.Mutex
	open      int
	byAddress map[netip.Addr]int
}

func newBounded(l net.Listener) *bounded {
	return &bounded{Listener: l, byAddress: make(map[netip.Addr]int)}
}

// Accept returns the next connection that there is room for.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var from netip.Addr
		if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			from = a.AddrPort().Addr().Unmap()
		}
		if b.enter(from) {
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { b.leave(from) })}, nil
		}
		_ = conn.Close()
	}
}

func (b *bounded) enter(from netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open >= maxHealthConnections || b.byAddress[from] >= maxHealthConnectionsPerAddress {
		return false
	}
	b.open++
	b.byAddress[from]++
	return true
}

func (b *bounded) leave(from netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
	if b.byAddress[from]--; b.byAddress[from] == 0 {
		delete(b.byAddress, from)
	}
}

// counted is a connection of a bounded listener.
type counted struct {
	net.Conn
	leave func()
}

// Close makes room for another one.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
