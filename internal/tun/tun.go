package tun

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// The backends of Options.Backend.
const (
	// BackendAuto takes BackendOffload where the system has it, else BackendPortable.
	BackendAuto = "auto"
	// BackendOffload needs Linux.
	BackendOffload = "offload"
	// BackendPortable works on every system that has a TUN device.
	BackendPortable = "portable"
)

// errNoOffload is returned by openOffload on systems without that backend.
var errNoOffload = errors.New("this system has no offload backend")

// Device is a virtual network interface. Packets are whole IP packets without link header.
//
// One goroutine at a time reads; Write may be called from several goroutines.
type Device interface {
	// Read blocks until a packet is there and returns the number n of packets read, n >= 1.
	// Packet i is bufs[i][offset : offset+sizes[i]]. The caller owns bufs throughout; there
	// should be BatchSize of them, each able to hold MTU bytes behind offset. A packet that
	// does not fit is dropped and counted. After Close the error is os.ErrClosed.
	Read(bufs [][]byte, sizes []int, offset int) (n int, err error)
	// Write hands the packets bufs[i][offset:] to the operating system and returns how many
	// it took. The Headroom bytes in front of each packet and the packet itself may be
	// overwritten; offset is at least Headroom. Packets that the system refuses (for example
	// because the interface is down) are counted and skipped. An error is returned only when
	// the device can no longer be used; os.ErrClosed after Close.
	Write(bufs [][]byte, offset int) (int, error)
	// MTU is the MTU in bytes that the interface was opened with.
	MTU() int
	// Name is the interface's name.
	Name() string
	// BatchSize is the number of packets that one call handles best.
	BatchSize() int
	// Close removes the interface and ends a blocked Read.
	Close() error
}

// Options says what Open creates.
type Options struct {
	// Name of the interface, at most 15 bytes.
	Name string
	// MTU in bytes; zero means DefaultMTU.
	MTU int
	// Backend is BackendAuto (also when empty), BackendOffload or BackendPortable.
	Backend string
	// Registerer takes the counters; nil keeps them private.
	Registerer prometheus.Registerer
}

// Open creates the interface and sets its MTU; it is not yet up and has no address. It needs
// CAP_NET_ADMIN.
func Open(o Options) (Device, error) {
	if o.MTU == 0 {
		o.MTU = DefaultMTU
	}
	if o.MTU < MinMTU || o.MTU > MaxMTU {
		return nil, fmt.Errorf("tun: MTU %d is not between %d and %d", o.MTU, MinMTU, MaxMTU)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	switch o.Backend {
	case BackendOffload:
		return named(openOffload(o, m))
	case BackendPortable:
		return named(openPortable(o, m))
	case BackendAuto, "":
		d, err := openOffload(o, m)
		if errors.Is(err, errNoOffload) {
			return named(openPortable(o, m))
		}
		return named(d, err)
	default:
		return nil, fmt.Errorf("tun: unknown backend %q: use %s, %s or %s", o.Backend, BackendAuto, BackendOffload, BackendPortable)
	}
}

// named says which package an error is from and avoids a non-nil interface around a nil device.
func named(d Device, err error) (Device, error) {
	if err != nil {
		return nil, fmt.Errorf("tun: open: %w", err)
	}
	return d, nil
}
