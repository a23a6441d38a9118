package netfilter

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// sendSegments sends a super-packet that the kernel or the card cuts (udp(7), UDP_SEGMENT); no address: the connected one.
func sendSegments(conn *net.UDPConn, data []byte, size uint16, to netip.AddrPort) error {
	control := make([]byte, unix.CmsgSpace(2))
	header := unix.Cmsghdr{Level: unix.SOL_UDP, Type: unix.UDP_SEGMENT}
	header.SetLen(unix.CmsgLen(2))
	control = binary.NativeEndian.AppendUint64(control[:0], header.Len)
	control = binary.NativeEndian.AppendUint32(control, uint32(header.Level))
	control = binary.NativeEndian.AppendUint32(control, uint32(header.Type))
	control = binary.NativeEndian.AppendUint16(control, size)
	control = control[:unix.CmsgSpace(2)]
	_, _, err := conn.WriteMsgUDPAddrPort(data, control, to)
	return err
}

// withoutChecksum makes an IPv4 socket send datagrams without a checksum.
func withoutChecksum(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) }); err != nil {
		return err
	}
	return failed
}
