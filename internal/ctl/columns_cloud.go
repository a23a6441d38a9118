package ctl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyphonic/cyphonic/api"
)

func replicaColumns() (narrow, further []column) {
	narrow = []column{
		of("SERVICE", func(r *api.Replica) string { return string(r.Spec.Service) }),
		of("HOST", func(r *api.Replica) string { return r.Spec.Host }),
		of("STATE", func(r *api.Replica) string { return string(r.Status.State) }),
		{"SINCE", func(o api.Object, now time.Time) string { return age(o.(*api.Replica).Status.Since, now) }},
		of("CPU", func(r *api.Replica) string { return coresText(r.Status.Load.Cpu) }),
		of("MEMORY", func(r *api.Replica) string { return memoryText(r.Status.Load.MemoryBytes) }),
		of("REQUESTS/S", func(r *api.Replica) string { return rateText(r.Status.Load.RequestsPerSecond) }),
		of("SESSIONS", func(r *api.Replica) string { return strconv.FormatInt(r.Status.Load.Sessions, 10) }),
	}
	further = []column{
		{"DRAIN", func(o api.Object, now time.Time) string { return drainText(o.(*api.Replica), now) }},
		of("VERSION", func(r *api.Replica) string { return r.Status.Version }),
		of("ADDRESSES", func(r *api.Replica) string { return strings.Join(r.Status.Addresses, ",") }),
		of("ADVERTISED", func(r *api.Replica) string { return strings.Join(r.Status.Advertised, ",") }),
	}
	return narrow, further
}

// drainText says whether, when and by whom a replica was asked to drain.
func drainText(r *api.Replica, now time.Time) string {
	if r.Status.DrainRequested.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s ago by %s", age(r.Status.DrainRequested, now), r.Status.DrainRequestedBy)
}

func coresText(cores float64) string { return strconv.FormatFloat(cores, 'f', 2, 64) }

func rateText(rate float64) string { return strconv.FormatFloat(rate, 'f', 1, 64) }

func memoryText(bytes int64) string {
	if bytes >= 1<<30 {
		return strconv.FormatFloat(float64(bytes)/(1<<30), 'f', 1, 64) + "GiB"
	}
	return strconv.FormatInt((bytes+1<<19)>>20, 10) + "MiB"
}

func bgpPeerColumns() (narrow, further []column) {
	narrow = []column{
		of("ADDRESS", func(p *api.BGPPeer) string { return p.Spec.PeerAddress }),
		of("ASN", func(p *api.BGPPeer) string { return strconv.FormatInt(p.Spec.PeerASN, 10) }),
		of("SESSIONS", func(p *api.BGPPeer) string {
			up := slices.DeleteFunc(slices.Clone(p.Status.Sessions), func(s api.BGPSession) bool { return s.State != api.BGPSessionStateEstablished })
			return fmt.Sprintf("%d/%d", len(up), len(p.Status.Sessions))
		}),
		of("STATE", func(p *api.BGPPeer) string { return stateOf(p.Status.Conditions, "Established", p.Spec.Suspended) }),
	}
	further = []column{
		of("LOCAL-ASN", func(p *api.BGPPeer) string { return strconv.FormatInt(p.Spec.LocalASN, 10) }),
		of("FAMILIES", func(p *api.BGPPeer) string { return joined(p.Spec.AddressFamilies) }),
		of("HOLD-TIME", func(p *api.BGPPeer) string { return fmt.Sprintf("%ds", p.Spec.HoldTimeSeconds) }),
		of("BFD", func(p *api.BGPPeer) string { return yesNo(p.Spec.Bfd.Enabled) }),
		of("HOSTS", func(p *api.BGPPeer) string { return first(strings.Join(p.Spec.Hosts, ","), "*") }),
		of("MESSAGE", func(p *api.BGPPeer) string { return messageOf(p.Status.Conditions, "Established") }),
	}
	return narrow, further
}

func bgpAdvertisementColumns() (narrow, further []column) {
	narrow = []column{
		of("SERVICES", func(a *api.BGPAdvertisement) string { return first(strings.Join(a.Spec.Services, ","), "*") }),
		of("PEERS", func(a *api.BGPAdvertisement) string { return first(strings.Join(a.Spec.Peers, ","), "*") }),
		of("PREFIXES", func(a *api.BGPAdvertisement) string { return strconv.Itoa(len(a.Status.Prefixes)) }),
		of("STATE", func(a *api.BGPAdvertisement) string { return stateOf(a.Status.Conditions, "Announced", false) }),
	}
	further = []column{
		of("HOSTS", func(a *api.BGPAdvertisement) string { return first(strings.Join(a.Spec.Hosts, ","), "*") }),
		of("COMMUNITIES", func(a *api.BGPAdvertisement) string {
			return strings.Join(append(slices.Clone(a.Spec.Communities), a.Spec.LargeCommunities...), ",")
		}),
		of("MESSAGE", func(a *api.BGPAdvertisement) string { return messageOf(a.Status.Conditions, "Announced") }),
	}
	return narrow, further
}

// stateOf says in one word whether a condition holds, or why not.
func stateOf(conditions []api.Condition, name string, suspended bool) string {
	i := slices.IndexFunc(conditions, func(c api.Condition) bool { return c.Type == name })
	switch {
	case suspended:
		return "Suspended"
	case i < 0:
		return "Pending"
	case conditions[i].Status == api.ConditionStatusTrue:
		return name
	}
	return first(conditions[i].Reason, "Not"+name)
}

func messageOf(conditions []api.Condition, name string) string {
	for _, c := range conditions {
		if c.Type == name {
			return c.Message
		}
	}
	return ""
}

func joined[T ~string](words []T) string {
	var parts []string
	for _, w := range words {
		parts = append(parts, string(w))
	}
	return strings.Join(parts, ",")
}
