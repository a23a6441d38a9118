package tun

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

// offload is a Device that exchanges super-packets with the kernel (TUN_F_TSO4, TUN_F_USO4
// and their IPv6 kin). The library cuts and joins them.
type offload struct {
	native  wgtun.Device
	name    string
	mtu     int
	metrics *metrics
	closed  atomic.Bool

	writeMu sync.Mutex
	// joined gives the library room to append to a packet the ones that follow it. The
	// callers' buffers have no such room.
	joined   [][]byte // under writeMu
	outgoing [][]byte // under writeMu
}

func openOffload(o Options, m *metrics) (Device, error) {
	native, err := wgtun.CreateTUN(o.Name, o.MTU)
	if err != nil {
		return nil, fmt.Errorf("create interface %q (needs CAP_NET_ADMIN): %w", o.Name, err)
	}
	name, err := native.Name()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("name of interface %q: %w", o.Name, err), native.Close())
	}
	d := &offload{native: native, name: name, mtu: o.MTU, metrics: m}
	d.joined = make([][]byte, native.BatchSize())
	for i := range d.joined {
		d.joined[i] = make([]byte, Headroom+maxPacket)
	}
	return d, nil
}

// Read implements Device.
func (d *offload) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for {
		n, err := d.native.Read(bufs, sizes, offset)
		if errors.Is(err, wgtun.ErrTooManySegments) {
			d.metrics.tooBig.Inc()
			err = nil
		}
		if err == nil && n > 0 {
			return n, nil
		}
		if d.closed.Load() || errors.Is(err, os.ErrClosed) {
			return 0, os.ErrClosed
		}
		var system *os.PathError
		if errors.As(err, &system) {
			return 0, fmt.Errorf("tun: read: %w", err)
		}
		d.metrics.malformed.Inc() // the library's own complaints concern one packet
	}
}

// Write implements Device.
func (d *offload) Write(bufs [][]byte, offset int) (int, error) {
	d.writeMu.Lock()
	defer d.writeMu.Unlock()
	done := 0
	for len(bufs) > 0 {
		n := min(len(bufs), len(d.joined))
		d.outgoing = d.outgoing[:0]
		for i, b := range bufs[:n] {
			size := copy(d.joined[i][Headroom:], b[offset:])
			d.outgoing = append(d.outgoing, d.joined[i][:Headroom+size])
		}
		_, err := d.native.Write(d.outgoing, Headroom)
		if d.closed.Load() || errors.Is(err, os.ErrClosed) {
			return done, os.ErrClosed
		}
		if err != nil {
			d.metrics.refused.Inc()
		} else {
			done += n
		}
		bufs = bufs[n:]
	}
	return done, nil
}

// MTU implements Device.
func (d *offload) MTU() int { return d.mtu }

// Name implements Device.
func (d *offload) Name() string { return d.name }

// BatchSize implements Device.
func (d *offload) BatchSize() int { return d.native.BatchSize() }

// Close implements Device.
func (d *offload) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	return d.native.Close()
}
