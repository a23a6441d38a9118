package bfd

import (
	"encoding/binary"
	"errors"
	"time"
)

// packet is a BFD Control packet without authentication (RFC 5880, section 4.1):
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       My Discriminator                        |
//	|                      Your Discriminator                       |
//	|             Desired Min TX Interval (microseconds)            |
//	|             Required Min RX Interval (microseconds)           |
//	|          Required Min Echo RX Interval (microseconds)         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type packet struct {
	diagnostic          Diagnostic
	state               State
	poll, final, demand bool
	multiplier          uint8
	mine, yours         uint32 // discriminators
	minTx, minRx        time.Duration
}

const (
	version      = 1
	packetLength = 24

	flagPoll           = 0x20
	flagFinal          = 0x10
	flagAuthentication = 0x04
	flagDemand         = 0x02
	flagMultipoint     = 0x01
)

// Why a packet cannot be used (RFC 5880, section 6.8.6); the texts are metric labels.
var (
	errMalformed      = errors.New("malformed")
	errVersion        = errors.New("version")
	errAuthentication = errors.New("authentication")
)

// append writes the packet; echo packets are never wanted.
func (p packet) append(to []byte) []byte {
	flags := byte(p.state) << 6
	for flag, set := range map[byte]bool{flagPoll: p.poll, flagFinal: p.final, flagDemand: p.demand} {
		if set {
			flags |= flag
		}
	}
	to = append(to, version<<5|byte(p.diagnostic), flags, p.multiplier, packetLength)
	for _, field := range []uint32{p.mine, p.yours, microseconds(p.minTx), microseconds(p.minRx), 0} {
		to = binary.BigEndian.AppendUint32(to, field)
	}
	return to
}

func microseconds(d time.Duration) uint32 { return uint32(d / time.Microsecond) }

// parsePacket reads a UDP payload.
func parsePacket(data []byte) (packet, error) {
	switch {
	case len(data) < packetLength:
		return packet{}, errMalformed
	case data[0]>>5 != version:
		return packet{}, errVersion
	case data[1]&flagAuthentication != 0:
		return packet{}, errAuthentication
	case data[3] < packetLength || int(data[3]) > len(data) || data[2] == 0 || data[1]&flagMultipoint != 0:
		return packet{}, errMalformed
	}
	duration := func(at int) time.Duration {
		return time.Duration(binary.BigEndian.Uint32(data[at:])) * time.Microsecond
	}
	p := packet{
		diagnostic: Diagnostic(data[0] & 0x1f), state: State(data[1] >> 6),
		poll: data[1]&flagPoll != 0, final: data[1]&flagFinal != 0, demand: data[1]&flagDemand != 0,
		multiplier: data[2], mine: binary.BigEndian.Uint32(data[4:]), yours: binary.BigEndian.Uint32(data[8:]),
		minTx: duration(12), minRx: duration(16),
	}
	if p.mine == 0 || p.yours == 0 && (p.state == Init || p.state == Up) || p.poll && p.final {
		return packet{}, errMalformed
	}
	return p, nil
}
