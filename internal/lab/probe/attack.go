package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
)

const (
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	// etherTypeAll is ETH_P_ALL: all protocols, outgoing frames included.
	etherTypeAll = 0x0003
)

// Attacker sends crafted frames from one interface of the host whose namespace the calling thread is in when it is
// opened (lab.Host.Do).
type Attacker struct {
	conn *packet.Conn
	mac  net.HardwareAddr
}

// NewAttacker opens the interface for frames of any kind.
func NewAttacker(iface string) (*Attacker, error) {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("attacker: %w", err)
	}
	conn, err := packet.Listen(link, packet.Raw, etherTypeAll, nil)
	if err != nil {
		return nil, fmt.Errorf("attacker: open %s: %w", iface, err)
	}
	return &Attacker{conn: conn, mac: link.HardwareAddr}, nil
}

// Close closes the interface.
func (a *Attacker) Close() error { return a.conn.Close() }

// MAC is the interface's own hardware address.
func (a *Attacker) MAC() net.HardwareAddr { return a.mac }

// Send sends one whole frame as it is.
func (a *Attacker) Send(frame []byte) error {
	if len(frame) < 14 {
		return errors.New("attacker: a frame has at least an Ethernet header")
	}
	_, err := a.conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])})
	return err
}

// Ethernet puts an Ethernet header in front of a payload.
func Ethernet(destination, source net.HardwareAddr, etherType uint16, payload []byte) []byte {
	frame := make([]byte, 0, 14+len(payload))
	frame = append(frame, destination...)
	frame = append(frame, source...)
	frame = binary.BigEndian.AppendUint16(frame, etherType)
	return append(frame, payload...)
}

// Broadcast is the hardware address of everybody.
func Broadcast() net.HardwareAddr { return net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

// ARPReply is the frame that claims, unasked, that an address is at a hardware address (RFC 826), told to destination.
func ARPReply(destination, claimed net.HardwareAddr, address, told netip.Addr) []byte {
	body := []byte{0, 1, 8, 0, 6, 4, 0, 2} // Ethernet, IPv4, reply
	body = append(body, claimed...)
	body = append(body, address.AsSlice()...)
	body = append(body, destination...)
	body = append(body, told.AsSlice()...)
	return Ethernet(destination, claimed, etherTypeARP, body)
}

// UDPFrame is a frame with an IPv4 UDP datagram of any source address.
func UDPFrame(destination, source net.HardwareAddr, from, to netip.AddrPort, payload []byte) []byte {
	packet := make([]byte, 28, 28+len(payload))
	packet[0], packet[8], packet[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(packet[2:], uint16(28+len(payload)))
	copy(packet[12:], from.Addr().AsSlice())
	copy(packet[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(packet[10:], ^onesSum(packet[:20]))
	binary.BigEndian.PutUint16(packet[20:], from.Port())
	binary.BigEndian.PutUint16(packet[22:], to.Port())
	binary.BigEndian.PutUint16(packet[24:], uint16(8+len(payload))) // checksum zero: none (RFC 768)
	return Ethernet(destination, source, etherTypeIPv4, append(packet, payload...))
}

func onesSum(header []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// UDPPayload finds the payload of an IPv4 UDP frame without IP options or fragments; nil if it is something else.
func UDPPayload(frame []byte) []byte {
	if len(frame) < 42 || binary.BigEndian.Uint16(frame[12:]) != etherTypeIPv4 || frame[14] != 0x45 || frame[23] != 17 {
		return nil
	}
	length := int(binary.BigEndian.Uint16(frame[38:]))
	if length < 8 || 34+length > len(frame) {
		return nil
	}
	return frame[42 : 34+length]
}

// ReplaceUDPPayload gives a UDP frame (see UDPPayload) another payload and headers that fit it.
func ReplaceUDPPayload(frame, payload []byte) []byte {
	changed := append(append([]byte(nil), frame[:42]...), payload...)
	binary.BigEndian.PutUint16(changed[16:], uint16(28+len(payload)))
	binary.BigEndian.PutUint16(changed[24:], 0)
	binary.BigEndian.PutUint16(changed[24:], ^onesSum(changed[14:34]))
	binary.BigEndian.PutUint16(changed[38:], uint16(8+len(payload)))
	binary.BigEndian.PutUint16(changed[40:], 0)
	return changed
}

// RogueDHCP answers every DHCP discover and request that reaches the interface with an offer of its own, until ctx
// ends; it reports how many it has answered.
func (a *Attacker) RogueDHCP(ctx context.Context, offered, self netip.Addr) (answered int, err error) {
	buf := make([]byte, 2048)
	for ctx.Err() == nil {
		_ = a.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, _, err := a.conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return answered, err
		}
		payload := UDPPayload(buf[:n])
		if payload == nil || binary.BigEndian.Uint16(buf[36:]) != dhcpv4.ServerPort {
			continue
		}
		if frame := a.rogueAnswer(payload, offered, self); frame != nil {
			if err := a.Send(frame); err != nil {
				return answered, err
			}
			answered++
		}
	}
	return answered, nil
}

func (a *Attacker) rogueAnswer(payload []byte, offered, self netip.Addr) []byte {
	request, err := dhcpv4.FromBytes(payload)
	if err != nil || request.ClientHWAddr.String() == a.mac.String() {
		return nil
	}
	kind := dhcpv4.MessageTypeOffer
	if request.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
	}
	answer, err := dhcpv4.NewReplyFromRequest(request,
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithYourIP(offered.AsSlice()),
		dhcpv4.WithServerIP(self.AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(self.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptRouter(self.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(time.Hour)),
		dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32))))
	if err != nil {
		return nil
	}
	from := netip.AddrPortFrom(self, dhcpv4.ServerPort)
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), dhcpv4.ClientPort)
	return UDPFrame(request.ClientHWAddr, a.mac, from, to, answer.ToBytes())
}
