package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
)

// Reasons of the events that writes cause.
const (
	reasonAddressAllocated = "AddressAllocated"
	reasonConflict         = "ConflictRefused"
	reasonPrefixFull       = "PrefixFull"
	reasonPrefixNearlyFull = "PrefixNearlyFull"
	reasonDeletionWaits    = "DeletionWaits"
	reasonPhase            = "PhaseChanged"
	reasonDrain            = "DrainRequested"
)

func referenceTo(o api.Object) api.ObjectReference {
	return api.ObjectReference{Kind: o.KindName(), Name: o.Meta().Name, Uid: o.Meta().Uid}
}

// noticeChange writes events about a change that happened.
func (s *Server) noticeChange(c change) {
	if s.events == nil || c.new == nil {
		return
	}
	if deleting(c.new) && (c.old == nil || !deleting(c.old)) {
		s.events.Event(referenceTo(c.new), access.NetworkOf(c.new, nil), api.EventTypeNormal, reasonDeletionWaits,
			"the deletion was asked for; it waits for "+strings.Join(c.new.Meta().Finalizers, ", "))
	}
	d, ok := deviceOf(c.new)
	if !ok {
		return
	}
	now := addressesOf(d)
	if before, ok := deviceOf(c.old); ok && addressesOf(before) == now {
		return
	}
	if now != "" {
		s.events.Event(referenceTo(c.new), d.network, api.EventTypeNormal, reasonAddressAllocated, addressesText(now))
		s.noticeFilling(d.network)
	}
}

func addressesText(addresses string) string {
	if strings.Contains(addresses, " and ") {
		return "the virtual addresses are " + addresses
	}
	return "the virtual address is " + addresses
}

func addressesOf(d device) string {
	var list []string
	for _, a := range []string{*d.statusIPv4, *d.statusIPv6} {
		if a != "" {
			list = append(list, a)
		}
	}
	return strings.Join(list, " and ")
}

// noticeFilling warns when a prefix has little room left.
func (s *Server) noticeFilling(network string) {
	if !s.cacheReady() {
		return
	}
	item, ok := s.cache.View(keyspace.Networks).Get(network)
	n := new(api.Network)
	if !ok || json.Unmarshal(item.Value, n) != nil {
		return
	}
	used4, used6 := s.cache.AllocatedAddresses(network)
	for _, p := range []struct {
		prefix string
		used   int64
	}{{n.Spec.Ipv4Prefix, used4}, {n.Spec.Ipv6Prefix, used6}} {
		if size := assignable(p.prefix); size > 0 && p.used*100 >= size*nearlyFullPercent {
			s.events.Event(referenceTo(n), network, api.EventTypeWarning, reasonPrefixNearlyFull,
				fmt.Sprintf("at least %d %% of the %d addresses of %s are in use; delete devices that are gone, or make another network", nearlyFullPercent, size, p.prefix))
		}
	}
}

// assignable is how many addresses of a prefix devices can have; 0 is more
// than anybody counts.
func assignable(text string) int64 {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return 0
	}
	size := new(big.Int).Lsh(big.NewInt(1), uint(prefix.Addr().BitLen()-prefix.Bits()))
	if !size.IsInt64() || size.Int64() > 1<<40 {
		return 0
	}
	if prefix.Addr().Is4() {
		return size.Int64() - 3 // network, gateway and broadcast address
	}
	return size.Int64() - 2
}

// noticeRefusal tells both sides of a conflict: a device that was refused what
// another has knows it from the answer, the other does not.
func (s *Server) noticeRefusal(p *plan, err error) {
	var refusal *problem
	if s.events == nil || p.new == nil || !errors.As(err, &refusal) {
		return
	}
	d, ok := deviceOf(p.new)
	if !ok {
		return
	}
	switch refusal.typ {
	case typePrefixFull:
		s.events.Event(api.ObjectReference{Kind: "Network", Name: d.network}, d.network, api.EventTypeWarning, reasonPrefixFull,
			fmt.Sprintf("%s %s was refused an address: %s", p.kind.Name, d.metadata.Name, refusal.detail))
	case typeTaken:
		message := fmt.Sprintf("%s %s was refused: %s", p.kind.Name, d.metadata.Name, refusal.detail)
		if p.old != nil {
			s.events.Event(referenceTo(p.old), d.network, api.EventTypeWarning, reasonConflict, message)
		}
		if p.holder == nil {
			return
		}
		if kind, ok := api.KindOfPlural(p.holder.Kind); ok {
			s.events.Event(api.ObjectReference{Kind: kind.Name, Name: p.holder.Name, Uid: p.holder.UID}, d.network, api.EventTypeWarning, reasonConflict, message)
		}
	}
}

// noticeReport writes an event when a device comes up, goes down or fails.
func (s *Server) noticeReport(c change) {
	before, _, _ := phaseOf(c.old)
	after, reason, ok := phaseOf(c.new)
	if s.events == nil || !ok || before == after {
		return
	}
	kind := api.EventTypeNormal
	switch after {
	case api.DevicePhaseUp:
	case api.DevicePhaseDown, api.DevicePhaseFailed:
		kind = api.EventTypeWarning
	default:
		return // on the way to one of these
	}
	message := "the device is " + string(after)
	if reason != "" {
		message += ": " + reason
	}
	s.events.Event(referenceTo(c.new), access.NetworkOf(c.new, nil), kind, reasonPhase, message)
}

// phaseOf returns the phase of a device with its reason.
func phaseOf(o api.Object) (phase api.DevicePhase, reason string, ok bool) {
	switch o := o.(type) {
	case *api.GeneralNode:
		return o.Status.Phase, o.Status.Reason, true
	case *api.Node:
		return o.Status.Phase, "", true
	case *api.Adapter:
		return o.Status.Phase, "", true
	}
	return "", "", false
}
