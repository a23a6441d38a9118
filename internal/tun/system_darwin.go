package tun

import (
	"fmt"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

func waterConfig(name string) water.Config {
	return water.Config{DeviceType: water.TUN, PlatformSpecificParams: water.PlatformSpecificParams{Name: name}}
}

func openOffload(Options, *metrics) (Device, error) { return nil, errNoOffload }

// setMTU sets an interface's MTU in bytes.
func setMTU(name string, mtu int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return fmt.Errorf("set MTU of %s: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	request := &unix.IfreqMTU{MTU: int32(mtu)}
	copy(request.Name[:], name)
	if err := unix.IoctlSetIfreqMTU(fd, request); err != nil {
		return fmt.Errorf("set MTU of %s to %d: %w", name, mtu, err)
	}
	return nil
}
