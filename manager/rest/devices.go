package rest

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/ipam"
	"github.com/cyphonic/cyphonic/manager/store"
)

// device is what nodes and general nodes have in common. The pointers go into
// the status of the resource.
type device struct {
	metadata             *api.ObjectMeta
	network, fqdn        string // of the specification
	mac, adapter         string // of the specification; general nodes only
	wantIPv4, wantIPv6   bool   // which families it has
	fixedIPv4, fixedIPv6 string // of the specification

	statusFqdn, statusIPv4, statusIPv6 *string
}

func deviceOf(o api.Object) (device, bool) {
	switch o := o.(type) {
	case *api.Node:
		return device{
			network: o.Spec.Network, fqdn: o.Spec.Fqdn, wantIPv4: true, wantIPv6: true,
			fixedIPv4: o.Spec.VirtualIPv4, fixedIPv6: o.Spec.VirtualIPv6,
			statusFqdn: &o.Status.Fqdn, statusIPv4: &o.Status.VirtualIPv4, statusIPv6: &o.Status.VirtualIPv6,
			metadata: &o.Metadata,
		}, true
	case *api.GeneralNode:
		mode := o.Spec.AddressMode
		return device{
			network: o.Spec.Network, fqdn: o.Spec.Fqdn, mac: o.Spec.Mac, adapter: o.Spec.Adapter,
			wantIPv4: mode != api.AddressModeIpv6, wantIPv6: mode != api.AddressModeIpv4,
			fixedIPv4: o.Spec.VirtualIPv4, fixedIPv6: o.Spec.VirtualIPv6,
			statusFqdn: &o.Status.Fqdn, statusIPv4: &o.Status.VirtualIPv4, statusIPv6: &o.Status.VirtualIPv6,
			metadata: &o.Metadata,
		}, true
	}
	return device{}, false
}

// planDevice plans what a node or general node holds in its network: its name,
// its MAC address and its virtual addresses.
func planDevice(p *plan, targets map[string]api.Object) error {
	network, ok := targets["Network"].(*api.Network)
	if !ok {
		return fmt.Errorf("plan %s: its network was not read", p.kind.Name)
	}
	d, _ := deviceOf(p.new)
	faults := api.CheckInNetwork(p.new, network)
	faults = append(faults, checkModes(d)...)
	if adapter, ok := targets["Adapter"].(*api.Adapter); ok && adapter.Spec.Network != d.network {
		faults = append(faults, api.FieldError{Pointer: "/spec/adapter", Detail: fmt.Sprintf(
			"adapter %s belongs to network %s, not to %s", d.adapter, adapter.Spec.Network, d.network)})
	}
	if len(faults) > 0 {
		return invalid(faults)
	}
	if g, ok := p.new.(*api.GeneralNode); ok && p.old == nil {
		g.Status.Phase = api.DevicePhaseAbsent
	}
	oldFqdn, oldMAC := "", ""
	if before, ok := deviceOf(p.old); ok {
		oldFqdn, oldMAC = *before.statusFqdn, before.mac
	}
	*d.statusFqdn = api.FQDN(d.fqdn, d.metadata.Name, network.Spec.Domain)
	p.claim(oldFqdn, *d.statusFqdn, func(v string) string { return keyspace.UniqueFQDN(d.network, v) }, fqdnPointer(d), "name")
	p.claim(oldMAC, d.mac, func(v string) string { return keyspace.UniqueMAC(d.network, v) }, "/spec/mac", "MAC address")
	return p.planAddresses(d, network)
}

func fqdnPointer(d device) string {
	if d.fqdn == "" {
		return "/metadata/name"
	}
	return "/spec/fqdn"
}

func checkModes(d device) (faults api.FieldErrors) {
	if d.fixedIPv4 != "" && !d.wantIPv4 {
		faults = append(faults, api.FieldError{Pointer: "/spec/virtualIPv4", Detail: "needs addressMode ipv4 or dual"})
	}
	if d.fixedIPv6 != "" && !d.wantIPv6 {
		faults = append(faults, api.FieldError{Pointer: "/spec/virtualIPv6", Detail: "needs addressMode ipv6 or dual"})
	}
	return faults
}

// claim makes a value the device's own and gives up the one it had.
func (p *plan) claim(old, value string, key func(string) string, pointer, what string) {
	if value == old {
		return
	}
	if value != "" {
		k := key(value)
		p.require(store.Absent(k))
		p.write(store.Put(k, keyspace.Encode(p.owner())))
		p.blame[k] = func(holder string) *problem {
			return refuseField(http.StatusConflict, typeTaken, pointer, "the %s %s is used by %s in the same network", what, value, holder)
		}
	}
	if old != "" {
		p.write(store.Remove(key(old)))
	}
}

// planAddresses says what the device wants of the allocator.
func (p *plan) planAddresses(d device, network *api.Network) error {
	n, err := poolsOf(network)
	if err != nil {
		return err
	}
	p.alloc.Network = n
	p.alloc.IPv4 = ipam.Want{Needed: d.wantIPv4, Fixed: parseOrZero(d.fixedIPv4)}
	p.alloc.IPv6 = ipam.Want{Needed: d.wantIPv6, Fixed: parseOrZero(d.fixedIPv6)}
	if before, ok := deviceOf(p.old); ok {
		p.alloc.IPv4.Current = parseOrZero(*before.statusIPv4)
		p.alloc.IPv6.Current = parseOrZero(*before.statusIPv6)
	}
	return nil
}

func parseOrZero(text string) netip.Addr {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

// setAddresses writes the addresses in use into the status of a device.
func setAddresses(o api.Object, ipv4, ipv6 netip.Addr) {
	d, ok := deviceOf(o)
	if !ok {
		return
	}
	*d.statusIPv4, *d.statusIPv6 = "", ""
	if ipv4.IsValid() {
		*d.statusIPv4 = ipv4.String()
	}
	if ipv6.IsValid() {
		*d.statusIPv6 = ipv6.String()
	}
}

// releaseDevice frees what a device holds in its network.
func releaseDevice(p *plan, network *api.Network) error {
	pools, err := poolsOf(network)
	if err != nil {
		return err
	}
	d, _ := deviceOf(p.old)
	p.write(store.Remove(keyspace.UniqueFQDN(d.network, *d.statusFqdn)))
	if d.mac != "" {
		p.write(store.Remove(keyspace.UniqueMAC(d.network, d.mac)))
	}
	p.alloc.Network = pools
	p.alloc.IPv4.Current = parseOrZero(*d.statusIPv4)
	p.alloc.IPv6.Current = parseOrZero(*d.statusIPv6)
	return nil
}

// addressProblem says which field is at fault when no address can be had.
func addressProblem(e *ipam.Error) *problem {
	pointer := "/spec/virtualIPv4"
	if e.IPv6 {
		pointer = "/spec/virtualIPv6"
	}
	switch {
	case errors.Is(e, ipam.ErrFull):
		return refuseField(http.StatusConflict, typePrefixFull, "/spec/network", "%s", e.Detail)
	case errors.Is(e, ipam.ErrTaken):
		return refuseField(http.StatusConflict, typeTaken, pointer, "%s", e.Detail)
	case errors.Is(e, ipam.ErrOutside):
		return refuseField(http.StatusBadRequest, typeInvalid, pointer, "%s", e.Detail)
	default:
		return refuse(http.StatusServiceUnavailable, typeConflict, "%s", e.Detail)
	}
}

// keepOwnStatus puts back the parts of a status that are not for those who
// write the status: names and addresses are the manager's, keys the AS's, what
// speakers and replicas report is for the leader to say, and which commit of a
// repository was applied, and is gone back to, is known to the git sync alone.
func keepOwnStatus(who access.Principal, old, o api.Object) {
	switch o := o.(type) {
	case *api.GitSource:
		if !who.Everything() {
			o.Status = old.(*api.GitSource).Status
		}
	case *api.BGPPeer:
		if was := old.(*api.BGPPeer).Status; !who.Everything() {
			o.Status.Sessions = was.Sessions
		}
	case *api.BGPAdvertisement:
		if was := old.(*api.BGPAdvertisement).Status; !who.Everything() {
			o.Status.Prefixes = was.Prefixes
		}
	case *api.CloudService:
		if was := old.(*api.CloudService).Status; !who.Everything() {
			o.Status.ReadyReplicas, o.Status.AnnouncedBy = was.ReadyReplicas, was.AnnouncedBy
		}
	case *api.Network:
		conditions := o.Status.Conditions
		o.Status = old.(*api.Network).Status
		o.Status.Conditions = conditions
	case *api.Node:
		was := old.(*api.Node).Status
		o.Status.Fqdn, o.Status.VirtualIPv4, o.Status.VirtualIPv6, o.Status.NodeID = was.Fqdn, was.VirtualIPv4, was.VirtualIPv6, was.NodeID
	case *api.GeneralNode:
		was := old.(*api.GeneralNode).Status
		o.Status.Fqdn, o.Status.VirtualIPv4, o.Status.VirtualIPv6 = was.Fqdn, was.VirtualIPv4, was.VirtualIPv6
	case *api.Adapter:
		o.Status.NodeID = old.(*api.Adapter).Status.NodeID
	case *api.EnrollmentToken:
		o.Status = old.(*api.EnrollmentToken).Status
	case *api.APIToken:
		conditions := o.Status.Conditions
		o.Status = old.(*api.APIToken).Status
		o.Status.Conditions = conditions
	}
}
