package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// Conditions of what is announced.
const (
	conditionEstablished = "Established" // of a BGPPeer: every host has its session
	conditionAnnounced   = "Announced"   // of a BGPAdvertisement: every address is announced by at least one host
)

// report is what there shall be and what speakers and replicas say of it.
type report struct {
	peers          []*api.BGPPeer
	advertisements []*api.BGPAdvertisement
	services       []*api.CloudService
	speakers       []keyspace.SpeakerRecord // by host
	ready          map[string]int64         // replicas that serve, by service
}

// peerStatus is the sessions with one router.
func (r report) peerStatus(p *api.BGPPeer) (status api.BGPPeerStatus) {
	for _, speaker := range r.speakers {
		i := slices.IndexFunc(speaker.Sessions, func(s keyspace.BGPSession) bool { return s.Peer == p.Metadata.Name })
		if i < 0 || len(status.Sessions) == maxSessions {
			continue
		}
		s := speaker.Sessions[i]
		session := api.BGPSession{
			Host: speaker.Host, State: api.BGPSessionState(s.State), Since: s.Since.UTC(), Advertised: int64(s.Advertised), Received: int64(s.Received),
			Bfd: api.BFDSessionState(s.BFD), Reason: cut(s.Reason, api.MaxReason),
		}
		if !session.State.Valid() {
			session.State = api.BGPSessionStateIdle
		}
		if !session.Bfd.Valid() {
			session.Bfd = ""
		}
		status.Sessions = append(status.Sessions, session)
	}
	return status
}

// established is the condition of one router.
func (r report) established(p *api.BGPPeer, sessions []api.BGPSession) api.Condition {
	c := api.Condition{Type: conditionEstablished, Status: api.ConditionStatusFalse, ObservedGeneration: p.Metadata.Generation}
	if p.Spec.Suspended {
		c.Reason, c.Message = "Suspended", "there shall be no session for now"
		return c
	}
	var missing []string
	for _, host := range r.hostsOf(p) {
		i := slices.IndexFunc(sessions, func(s api.BGPSession) bool { return s.Host == host })
		switch {
		case i < 0 && !r.speaks(host):
			missing = append(missing, host+": no speaker")
		case i < 0:
			missing = append(missing, host+": the speaker has not taken it up yet")
		case sessions[i].State != api.BGPSessionStateEstablished && sessions[i].Reason != "":
			missing = append(missing, fmt.Sprintf("%s: %s, %s", host, sessions[i].State, sessions[i].Reason))
		case sessions[i].State != api.BGPSessionStateEstablished:
			missing = append(missing, fmt.Sprintf("%s: %s", host, sessions[i].State))
		}
	}
	hosts := len(r.hostsOf(p))
	switch {
	case hosts == 0:
		c.Reason, c.Message = "NoSpeaker", "no host has a speaker: start cyphonicd speaker on the hosts of the replicas"
	case len(missing) > 0:
		c.Reason, c.Message = "NotEstablished", fmt.Sprintf("%d of %d sessions are established; %s", hosts-len(missing), hosts, some(missing))
	default:
		c.Status, c.Reason, c.Message = api.ConditionStatusTrue, "Established", fmt.Sprintf("%d of %d sessions are established", hosts, hosts)
	}
	return c
}

// hostsOf are the hosts that shall have a session with a router.
func (r report) hostsOf(p *api.BGPPeer) []string {
	if len(p.Spec.Hosts) > 0 {
		return p.Spec.Hosts
	}
	var hosts []string
	for _, s := range r.speakers {
		hosts = append(hosts, s.Host)
	}
	return hosts
}

func (r report) speaks(host string) bool {
	return slices.ContainsFunc(r.speakers, func(s keyspace.SpeakerRecord) bool { return s.Host == host })
}

// advertisementStatus is what is announced of what an advertisement names.
func (r report) advertisementStatus(a *api.BGPAdvertisement) (status api.BGPAdvertisementStatus) {
	for _, prefix := range r.prefixesOf(a) {
		if hosts := r.announcing(prefix, a.OnHost); len(hosts) > 0 && len(status.Prefixes) < maxPrefixes {
			status.Prefixes = append(status.Prefixes, api.AdvertisedPrefix{Prefix: prefix.String(), Hosts: hosts})
		}
	}
	return status
}

// announced is the condition of one advertisement.
func (r report) announced(a *api.BGPAdvertisement, announced []api.AdvertisedPrefix) api.Condition {
	c := api.Condition{Type: conditionAnnounced, Status: api.ConditionStatusFalse, ObservedGeneration: a.Metadata.Generation}
	wanted := r.prefixesOf(a)
	var missing []string
	for _, prefix := range wanted {
		if !slices.ContainsFunc(announced, func(p api.AdvertisedPrefix) bool { return p.Prefix == prefix.String() }) {
			missing = append(missing, fmt.Sprintf("%s: %s", prefix, r.whyNot(a, prefix)))
		}
	}
	switch {
	case len(r.peers) == 0:
		c.Reason, c.Message = "NoPeer", "there is no BGPPeer to announce anything to"
	case len(wanted) == 0:
		c.Reason, c.Message = "NoService", "there is no CloudService to announce"
	case len(missing) > 0:
		c.Reason, c.Message = "NotAnnounced", fmt.Sprintf("%d of %d addresses are announced; %s", len(wanted)-len(missing), len(wanted), some(missing))
	default:
		c.Status, c.Reason, c.Message = api.ConditionStatusTrue, "Announced", fmt.Sprintf("%d of %d addresses are announced", len(wanted), len(wanted))
	}
	return c
}

// whyNot says why no host of an advertisement announces a prefix.
func (r report) whyNot(a *api.BGPAdvertisement, prefix netip.Prefix) string {
	var reasons []string
	for _, speaker := range r.speakers {
		for _, p := range speaker.Prefixes {
			if p.Prefix == prefix && a.OnHost(speaker.Host) && p.Reason != "" {
				reasons = append(reasons, speaker.Host+" says: "+p.Reason)
			}
		}
	}
	if len(reasons) == 0 {
		return "no speaker knows of a replica"
	}
	return some(reasons)
}

// serviceStatus is who serves a service and who announces it.
func (r report) serviceStatus(s *api.CloudService) api.CloudServiceStatus {
	status := api.CloudServiceStatus{ReadyReplicas: r.ready[string(s.Spec.Service)]}
	for _, prefix := range prefixesOf(s) {
		for _, host := range r.announcing(prefix, func(string) bool { return true }) {
			if !slices.Contains(status.AnnouncedBy, host) {
				status.AnnouncedBy = append(status.AnnouncedBy, host)
			}
		}
	}
	slices.Sort(status.AnnouncedBy)
	return status
}

// announcing are the hosts that announce a prefix, those of which within says so.
func (r report) announcing(prefix netip.Prefix, within func(host string) bool) (hosts []string) {
	for _, speaker := range r.speakers {
		announces := slices.ContainsFunc(speaker.Prefixes, func(p keyspace.SpokenPrefix) bool { return p.Prefix == prefix && p.Announced })
		if announces && within(speaker.Host) && len(hosts) < maxHosts {
			hosts = append(hosts, speaker.Host)
		}
	}
	return hosts
}

// prefixesOf are the addresses of the services that an advertisement names.
func (r report) prefixesOf(a *api.BGPAdvertisement) (prefixes []netip.Prefix) {
	for _, s := range r.services {
		if len(a.Spec.Services) > 0 && !slices.Contains(a.Spec.Services, s.Metadata.Name) {
			continue
		}
		for _, prefix := range prefixesOf(s) {
			if !slices.Contains(prefixes, prefix) {
				prefixes = append(prefixes, prefix)
			}
		}
	}
	return prefixes
}

// prefixesOf are the addresses of a service as prefixes.
func prefixesOf(s *api.CloudService) (prefixes []netip.Prefix) {
	for _, text := range []string{s.Spec.Ipv4, s.Spec.Ipv6} {
		if address, err := netip.ParseAddr(text); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(address, address.BitLen()))
		}
	}
	return prefixes
}

// some names the first of many things.
func some(things []string) string {
	if more := len(things) - maxNamed; more > 0 {
		things = append(slices.Clone(things[:maxNamed]), fmt.Sprintf("and %d more", more))
	}
	return cut(strings.Join(things, "; "), api.MaxMessage/2)
}

// cut shortens a text to so many bytes.
func cut(text string, bytes int) string {
	const mark = "…"
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= bytes {
		return text
	}
	end := bytes - len(mark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
