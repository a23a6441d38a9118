package netfilter

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Flags of TCP.
const (
	flagSYN = 0x02
	flagACK = 0x10
)

// forge sends IPv4 packets of TCP with flags, packet i from source(i), each from another port; it is to be run in the host
// that sends.
func forge(to netip.AddrPort, first, packets int, flags byte, source func(i int) netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	address := &unix.SockaddrInet4{Addr: to.Addr().As4()}
	for i := first; i < first+packets; i++ {
		packet := make([]byte, 40)
		packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_TCP
		binary.BigEndian.PutUint16(packet[2:], 40)
		from := source(i).As4()
		copy(packet[12:], from[:])
		target := to.Addr().As4()
		copy(packet[16:], target[:])
		binary.BigEndian.PutUint16(packet[20:], uint16(1024+i%60_000))
		binary.BigEndian.PutUint16(packet[22:], to.Port())
		binary.BigEndian.PutUint32(packet[24:], uint32(i))
		packet[32], packet[33] = 5<<4, flags
		packet[34] = 0xff
		binary.BigEndian.PutUint16(packet[36:], checksum(packet))
		if err := unix.Sendto(fd, packet, 0, address); err != nil {
			return err
		}
	}
	return nil
}

// checksum of the TCP header of such a packet (RFC 9293, section 3.1); the kernel fills in that of IP.
func checksum(packet []byte) uint16 {
	sum := uint32(unix.IPPROTO_TCP) + 20
	for i := 12; i < 40; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(packet[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
