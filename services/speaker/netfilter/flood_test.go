package netfilter

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// forge sends IPv4 packets of a TCP acknowledgement from as many addresses of 203.0.113.0/24 and ports; it is to be run
// in the host that sends.
func forge(to netip.AddrPort, packets int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	address := &unix.SockaddrInet4{Addr: to.Addr().As4()}
	for i := range packets {
		packet := make([]byte, 40)
		packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_TCP
		binary.BigEndian.PutUint16(packet[2:], 40)
		source := [4]byte{203, 0, 113, byte(i)}
		copy(packet[12:], source[:])
		target := to.Addr().As4()
		copy(packet[16:], target[:])
		binary.BigEndian.PutUint16(packet[20:], uint16(1024+i/256))
		binary.BigEndian.PutUint16(packet[22:], to.Port())
		binary.BigEndian.PutUint32(packet[24:], uint32(i))
		packet[32], packet[33] = 5<<4, 0x10 // ACK
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
