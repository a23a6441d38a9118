package tun

import (
	"fmt"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

func waterConfig(name string) water.Config {
	return water.Config{DeviceType: water.TUN, PlatformSpecificParams: water.PlatformSpecificParams{Name: name}}
}

// setMTU sets an interface's MTU in bytes (SIOCSIFMTU, netdevice(7)).
func setMTU(name string, mtu int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set MTU of %s: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("set MTU of %s: %w", name, err)
	}
	request.SetUint32(uint32(mtu))
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, request); err != nil {
		return fmt.Errorf("set MTU of %s to %d: %w", name, mtu, err)
	}
	return nil
}
