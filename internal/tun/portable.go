package tun

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/songgao/water"
)

// portable is a Device without offloads: one packet a system call.
type portable struct {
	file    *water.Interface
	mtu     int
	metrics *metrics
	closed  atomic.Bool
}

func openPortable(o Options, m *metrics) (Device, error) {
	f, err := water.New(waterConfig(o.Name))
	if err != nil {
		return nil, fmt.Errorf("create interface %q (needs CAP_NET_ADMIN): %w", o.Name, err)
	}
	if err := closeOnExec(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := setMTU(f.Name(), o.MTU); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &portable{file: f, mtu: o.MTU, metrics: m}, nil
}

// closeOnExec keeps the device from programs that this one starts; the library does not.
func closeOnExec(f *water.Interface) error {
	file, ok := f.ReadWriteCloser.(syscall.Conn)
	if !ok {
		return nil // not a file descriptor of this process
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("close interface %s on exec: %w", f.Name(), err)
	}
	return raw.Control(func(fd uintptr) { syscall.CloseOnExec(int(fd)) })
}

// Read implements Device.
func (p *portable) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n, err := p.file.Read(bufs[0][offset:])
	if err != nil {
		return 0, p.classify("read", err)
	}
	sizes[0] = n
	return 1, nil
}

// Write implements Device.
func (p *portable) Write(bufs [][]byte, offset int) (int, error) {
	done := 0
	for _, b := range bufs {
		if _, err := p.file.Write(b[offset:]); err != nil {
			if p.closed.Load() {
				return done, os.ErrClosed
			}
			p.metrics.refused.Inc()
			continue
		}
		done++
	}
	return done, nil
}

func (p *portable) classify(what string, err error) error {
	if p.closed.Load() || errors.Is(err, os.ErrClosed) {
		return os.ErrClosed
	}
	return fmt.Errorf("tun: %s: %w", what, err)
}

// MTU implements Device.
func (p *portable) MTU() int { return p.mtu }

// Name implements Device.
func (p *portable) Name() string { return p.file.Name() }

// BatchSize implements Device.
func (p *portable) BatchSize() int { return 1 }

// Close implements Device.
func (p *portable) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	return p.file.Close()
}
