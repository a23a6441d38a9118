package identity

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/cyphonic/cyphonic/internal/wire"
)

const (
	ticketVersion = 1
	ticketLabel   = "cyphonic ticket v1"
)

// Ticket tells any NMS replica who sends a datagram and with which session key, without a lookup. It is
// opaque to the node. Sealed with the ticket keyring (see Keyring), its plaintext is:
//
//	 0  version 1
//	 1  kind u8                     wire.SubjectKind
//	 2  assurance u8
//	 3  node id 32
//	35  session key 32
//	67  not after u64               seconds since 1970-01-01 UTC
//	75  virtual IPv4, virtual IPv6  each 1 and the address, or 0
//	    UID, name, network, FQDN    each length u8
//	    adapter                     length u8; empty but for general nodes
type Ticket struct {
	NodeID                   NodeID
	Kind                     wire.SubjectKind
	UID                      string // of the resource, at most MaxUID bytes
	Name, Network, FQDN      string
	VirtualIPv4, VirtualIPv6 netip.Addr
	Assurance                Assurance
	SessionKey               [32]byte
	NotAfter                 time.Time
	Adapter                  string // that spoke for a general node; moving the node to another one ends the ticket
}

// SealTicket fails with ErrTooLong if the names do not fit into wire.MaxTicket.
func SealTicket(rand io.Reader, ring Keyring, t Ticket) ([]byte, error) {
	var w writer
	w.u8(ticketVersion)
	w.u8(uint8(t.Kind))
	w.u8(uint8(t.Assurance))
	w.bytes(t.NodeID[:])
	w.bytes(t.SessionKey[:])
	w.time(t.NotAfter)
	w.addr("virtual IPv4", t.VirtualIPv4, true)
	w.addr("virtual IPv6", t.VirtualIPv6, false)
	w.string("UID", t.UID, MaxUID)
	w.string("name", t.Name, MaxName)
	w.string("network", t.Network, MaxName)
	w.string("FQDN", t.FQDN, MaxName)
	w.string("adapter", t.Adapter, MaxName)
	if w.err != nil {
		return nil, w.err
	}
	return ring.seal(rand, ticketLabel, w.b, wire.MaxTicket)
}

// OpenTicket fails with ErrMalformed, ErrUnknownKey, ErrSeal or ErrExpired.
func OpenTicket(ring Keyring, b []byte, now time.Time) (*Ticket, error) {
	plaintext, err := ring.open(ticketLabel, b, wire.MaxTicket)
	if err != nil {
		return nil, err
	}
	t := new(Ticket)
	r := newReader(plaintext)
	r.version(ticketVersion)
	t.Kind = wire.SubjectKind(r.u8())
	t.Assurance = Assurance(r.u8())
	r.copyTo(t.NodeID[:])
	r.copyTo(t.SessionKey[:])
	t.NotAfter = r.time()
	t.VirtualIPv4, t.VirtualIPv6 = r.addr(true), r.addr(false)
	t.UID = r.string(MaxUID)
	t.Name, t.Network, t.FQDN = r.string(MaxName), r.string(MaxName), r.string(MaxName)
	t.Adapter = r.string(MaxName)
	if !r.done() {
		return nil, fmt.Errorf("%w: ticket", ErrMalformed)
	}
	if now.After(t.NotAfter) {
		return nil, fmt.Errorf("ticket of %s: %w", t.Name, ErrExpired)
	}
	return t, nil
}
