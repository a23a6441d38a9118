package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// etherTypeIPv4 of RFC 894.
const etherTypeIPv4 = 0x0800

// kernelLink receives from a packet socket, which tells the sender's hardware address, and sends from a
// UDP socket, whose presence also keeps the kernel from answering "port unreachable".
type kernelLink struct {
	in  *packet.Conn
	out net.PacketConn
}

// ListenDHCP opens a DHCP server on the segment's bridge; Run serves it.
func (s *Segment) ListenDHCP(o DHCPOptions) (*DHCPServer, error) {
	ifi, err := net.InterfaceByName(s.options.Bridge)
	if err != nil {
		return nil, fmt.Errorf("lan: DHCP on %s: %w", s.options.Bridge, err)
	}
	filter, err := bpf.Assemble(dhcpFilter)
	if err != nil {
		return nil, fmt.Errorf("lan: DHCP filter: %w", err)
	}
	in, err := packet.Listen(ifi, packet.Datagram, etherTypeIPv4, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("lan: DHCP on %s: %w", s.options.Bridge, err)
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return sendOnly(c, s.options.Bridge) }}
	out, err := config.ListenPacket(context.Background(), "udp4", fmt.Sprintf(":%d", dhcpServerPort))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lan: DHCP server port on %s: %w (another DHCP server on this host? keep it off the bridge)", s.options.Bridge, err), in.Close())
	}
	return newDHCPServer(o, &kernelLink{in: in, out: out}), nil
}

// dhcpFilter passes what the guard has marked, is UDP, no later fragment, and for the server port. Offsets
// count from the IP header.
var dhcpFilter = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtMark},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: guardMark, SkipTrue: 7},
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 5},
	bpf.LoadAbsolute{Off: 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 3},
	bpf.LoadMemShift{Off: 0},
	bpf.LoadIndirect{Off: 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: dhcpServerPort, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.RetConstant{Val: maxFrame},
}

// sendOnly binds a socket to the bridge and lets nothing into its queue.
func sendOnly(c syscall.RawConn, device string) error {
	drop, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return err
	}
	program := []unix.SockFilter{{Code: drop[0].Op, Jt: drop[0].Jt, Jf: drop[0].Jf, K: drop[0].K}}
	var inner error
	err = c.Control(func(fd uintptr) {
		inner = errors.Join(
			os.NewSyscallError("SO_BINDTODEVICE", unix.BindToDevice(int(fd), device)),
			os.NewSyscallError("SO_BROADCAST", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)),
			os.NewSyscallError("SO_REUSEADDR", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)),
			os.NewSyscallError("SO_ATTACH_FILTER", unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
				&unix.SockFprog{Len: 1, Filter: &program[0]})),
		)
	})
	return errors.Join(err, inner)
}

func (l *kernelLink) receive(buf []byte) (int, MAC, error) {
	for {
		n, from, err := l.in.ReadFrom(buf)
		if errors.Is(err, os.ErrClosed) {
			return 0, MAC{}, net.ErrClosed
		}
		if err != nil {
			return 0, MAC{}, err
		}
		sender, ok := from.(*packet.Addr)
		if ok && len(sender.HardwareAddr) == len(MAC{}) {
			return n, MAC(sender.HardwareAddr), nil
		}
	}
}

// send relies on the permanent neighbour entry of an admitted device: it may not answer ARP yet.
func (l *kernelLink) send(to netip.Addr, reply []byte) error {
	if !to.IsValid() {
		to = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	_, err := l.out.WriteTo(reply, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, dhcpClientPort)))
	return err
}

func (l *kernelLink) close() {
	_ = l.in.Close()
	_ = l.out.Close()
}
