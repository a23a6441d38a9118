package api

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func wrongBGP() map[string]wrong {
	return map[string]wrong{
		"no address":                       {"BGPPeer", `"peerAddress":"2001:db8::1"`, `"peerAddress":""`, "/spec/peerAddress"},
		"no IP address":                    {"BGPPeer", `2001:db8::1`, `router.example.org`, "/spec/peerAddress"},
		"mapped IPv4":                      {"BGPPeer", `2001:db8::1`, `::ffff:192.0.2.1`, "/spec/peerAddress"},
		"multicast router":                 {"BGPPeer", `2001:db8::1`, `ff02::1`, "/spec/peerAddress"},
		"link-local router":                {"BGPPeer", `2001:db8::1`, `fe80::1`, "/spec/peerAddress"},
		"router with zone":                 {"BGPPeer", `2001:db8::1`, `fe80::1%eth0`, "/spec/peerAddress"},
		"no ASN of the router":             {"BGPPeer", `"peerASN":64512`, `"peerASN":0`, "/spec/peerASN"},
		"AS_TRANS":                         {"BGPPeer", `"peerASN":64512`, `"peerASN":23456`, "/spec/peerASN"},
		"last ASN of 16 bits":              {"BGPPeer", `"localASN":64513`, `"localASN":65535`, "/spec/localASN"},
		"last ASN of 32 bits":              {"BGPPeer", `"localASN":64513`, `"localASN":4294967295`, "/spec/localASN"},
		"port":                             {"BGPPeer", `1179`, `65536`, "/spec/peerPort"},
		"local address of another family":  {"BGPPeer", `"2001:db8::2"`, `"192.0.2.2"`, "/spec/localAddress"},
		"local address of the router":      {"BGPPeer", `"2001:db8::2"`, `"2001:db8::1"`, "/spec/localAddress"},
		"local address of two hosts":       {"BGPPeer", `["host-a.example.org"]`, `["host-a","host-b"]`, "/spec/localAddress"},
		"host in capitals":                 {"BGPPeer", `"host-a.example.org"`, `"Host-A"`, "/spec/hosts/0"},
		"host twice":                       {"BGPAdvertisement", `["host-a"],"communities"`, `["host-a","host-a"],"communities"`, "/spec/hosts/1"},
		"secret in another folder":         {"BGPPeer", `tor-a.password`, `../shadow`, "/spec/passwordSecret"},
		"hold time":                        {"BGPPeer", `"holdTimeSeconds":3`, `"holdTimeSeconds":2`, "/spec/holdTimeSeconds"},
		"connect retry":                    {"BGPPeer", `"connectRetrySeconds":1`, `"connectRetrySeconds":-1`, "/spec/connectRetrySeconds"},
		"GTSM with multihop":               {"BGPPeer", `"ttlSecurity":true`, `"ttlSecurity":true,"ebgpMultihop":2`, "/spec/ttlSecurity"},
		"multihop of an internal session":  {"BGPPeer", `"localASN":64513`, `"localASN":64512,"ebgpMultihop":2`, "/spec/ebgpMultihop"},
		"multihop beyond TTL":              {"BGPPeer", `"ttlSecurity":true`, `"ebgpMultihop":256`, "/spec/ebgpMultihop"},
		"BFD over several hops":            {"BGPPeer", `"ttlSecurity":true`, `"ebgpMultihop":2`, "/spec/bfd/enabled"},
		"BFD interval":                     {"BGPPeer", `"receiveIntervalMilliseconds":50`, `"receiveIntervalMilliseconds":5`, "/spec/bfd/receiveIntervalMilliseconds"},
		"BFD multiplier":                   {"BGPPeer", `"detectMultiplier":4`, `"detectMultiplier":1`, "/spec/bfd/detectMultiplier"},
		"family":                           {"BGPPeer", `["ipv4","ipv6"]`, `["ipv4","l2vpn"]`, "/spec/addressFamilies/1"},
		"family twice":                     {"BGPPeer", `["ipv4","ipv6"]`, `["ipv4","ipv4"]`, "/spec/addressFamilies/1"},
		"IPv6 next hop over IPv4":          {"BGPPeer", `"peerAddress":"2001:db8::1","peerASN":64512,"localASN":64513,"peerPort":1179,"localAddress":"2001:db8::2"`, `"peerAddress":"192.0.2.1","peerASN":64512,"localASN":64513`, "/spec/extendedNextHop"},
		"next hop for nothing":             {"BGPPeer", `["ipv4","ipv6"]`, `["ipv6"]`, "/spec/extendedNextHop"},
		"received prefixes":                {"BGPPeer", `"maxReceivedPrefixes":10`, `"maxReceivedPrefixes":1000001`, "/spec/maxReceivedPrefixes"},
		"long reason in the status":        {"BGPPeer", `"bfd":"Up"`, `"reason":"` + strings.Repeat("a", 257) + `"`, "/status/sessions/0/reason"},
		"session without host":             {"BGPPeer", `"host":"host-a","state"`, `"host":"","state"`, "/status/sessions/0/host"},
		"state of a session":               {"BGPPeer", `"Established"`, `"Up"`, "/status/sessions/0/state"},
		"state of BFD":                     {"BGPPeer", `"bfd":"Up"`, `"bfd":"Established"`, "/status/sessions/0/bfd"},
		"service that is no name":          {"BGPAdvertisement", `["as"]`, `["as","A S"]`, "/spec/services/1"},
		"service twice":                    {"BGPAdvertisement", `["as"]`, `["as","as"]`, "/spec/services/1"},
		"peer that is no name":             {"BGPAdvertisement", `["tor-a"]`, `[""]`, "/spec/peers/0"},
		"community of one number":          {"BGPAdvertisement", `"64512:100"`, `"64512"`, "/spec/communities/0"},
		"community beyond 16 bits":         {"BGPAdvertisement", `"64512:100"`, `"64512:65536"`, "/spec/communities/0"},
		"community with zeros":             {"BGPAdvertisement", `"64512:100"`, `"64512:0100"`, "/spec/communities/0"},
		"community that discards packets":  {"BGPAdvertisement", `"no-export"`, `"blackhole"`, "/spec/communities/1"},
		"community twice":                  {"BGPAdvertisement", `"64512:100"`, `"no-export"`, "/spec/communities/1"},
		"large community of two numbers":   {"BGPAdvertisement", `"4200000000:1:2"`, `"4200000000:1"`, "/spec/largeCommunities/0"},
		"large community beyond 32 bits":   {"BGPAdvertisement", `"4200000000:1:2"`, `"4294967296:1:2"`, "/spec/largeCommunities/0"},
		"negative local preference":        {"BGPAdvertisement", `"localPreference":200`, `"localPreference":-1`, "/spec/localPreference"},
		"MED beyond 32 bits":               {"BGPAdvertisement", `"med":10`, `"med":4294967296`, "/spec/med"},
		"path longer than anybody accepts": {"BGPAdvertisement", `"asPathPrepend":2`, `"asPathPrepend":17`, "/spec/asPathPrepend"},
	}
}

func TestWrongBGPIsRefusedWithItsPlace(t *testing.T) {
	for name, row := range wrongBGP() {
		t.Run(name, func(t *testing.T) {
			document := strings.Replace(validDocuments()[row.kind], row.old, row.new, 1)
			if document == validDocuments()[row.kind] {
				t.Fatalf("the document has no %s", row.old)
			}
			faults := decodeValid(t, document).Validate()
			if len(faults) != 1 || faults[0].Pointer != row.pointer || faults[0].Detail == "" {
				t.Errorf("got %v; want one at %s", faults, row.pointer)
			}
		})
	}
}

func TestDefaultsOfABGPPeer(t *testing.T) {
	rows := map[string]struct {
		spec BGPPeerSpec
		want []AddressFamily
	}{
		"over IPv4":                  {BGPPeerSpec{PeerAddress: "192.0.2.1"}, []AddressFamily{"ipv4"}},
		"over IPv6":                  {BGPPeerSpec{PeerAddress: "2001:DB8:0::1"}, []AddressFamily{"ipv6"}},
		"IPv4 with an IPv6 next hop": {BGPPeerSpec{PeerAddress: "2001:db8::1", ExtendedNextHop: true}, []AddressFamily{"ipv4", "ipv6"}},
		"given":                      {BGPPeerSpec{PeerAddress: "2001:db8::1", ExtendedNextHop: true, AddressFamilies: []AddressFamily{"ipv4"}}, []AddressFamily{"ipv4"}},
		"no address":                 {BGPPeerSpec{}, nil},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			p := &BGPPeer{Spec: row.spec}
			p.Spec.EbgpMultihop = 1
			p.Default()
			if !slices.Equal(p.Spec.AddressFamilies, row.want) {
				t.Errorf("families %v, want %v", p.Spec.AddressFamilies, row.want)
			}
			if p.Spec.PeerPort != 179 || p.Spec.HoldTimeSeconds != 9 || p.Spec.ConnectRetrySeconds != 5 || p.Spec.MaxReceivedPrefixes != 1000 || p.Spec.EbgpMultihop != 0 {
				t.Errorf("defaults: %+v", p.Spec)
			}
			if p.Spec.Bfd != (BGPPeerBFD{}) {
				t.Errorf("BFD that nobody wants has times: %+v", p.Spec.Bfd)
			}
			p.Spec.Bfd.Enabled = true
			p.Default()
			if want := (BGPPeerBFD{Enabled: true, ReceiveIntervalMilliseconds: 300, TransmitIntervalMilliseconds: 300, DetectMultiplier: 3}); p.Spec.Bfd != want {
				t.Errorf("BFD: %+v", p.Spec.Bfd)
			}
			if strings.Contains(p.Spec.PeerAddress, "DB8") {
				t.Errorf("the address is %s", p.Spec.PeerAddress)
			}
		})
	}
}

func TestCommunities(t *testing.T) {
	for text, want := range map[string]uint32{
		"0:0": 0, "64512:100": 64512<<16 | 100, "65535:65535": 1<<32 - 1, "graceful-shutdown": 0xFFFF0000, "no-export": 0xFFFFFF01,
		"no-advertise": 0xFFFFFF02, "no-export-subconfed": 0xFFFFFF03, "no-peer": 0xFFFFFF04,
	} {
		if got, ok := ParseCommunity(text); !ok || got != want {
			t.Errorf("%s is %#x, %t; want %#x", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "1", "1:2:3", "1:-2", "+1:2", "1: 2", "NO-EXPORT", "64512:", ":1", "0x1:1"} {
		if got, ok := ParseCommunity(text); ok {
			t.Errorf("%q is %#x", text, got)
		}
	}
	if got, ok := ParseLargeCommunity("4200000000:0:4294967295"); !ok || got != [3]uint32{4200000000, 0, 4294967295} {
		t.Errorf("large community: %v, %t", got, ok)
	}
	names := CommunityNames()
	if values := slices.Compact(slices.Sorted(maps.Values(names))); len(values) != len(names) {
		t.Errorf("two names mean the same: %v", names)
	}
}

func TestWhatAnAdvertisementNamesIsReferredTo(t *testing.T) {
	a := decodeValid(t, validDocuments()["BGPAdvertisement"])
	want := []Reference{{"CloudService", "as", "/spec/services/0"}, {"BGPPeer", "tor-a", "/spec/peers/0"}}
	if difference := cmp.Diff(want, a.References()); difference != "" {
		t.Error(difference)
	}
}

func TestHosts(t *testing.T) {
	everywhere, here := new(BGPPeer), &BGPAdvertisement{Spec: BGPAdvertisementSpec{Hosts: []string{"a"}}}
	if !everywhere.OnHost("a") || !here.OnHost("a") || here.OnHost("b") {
		t.Error("no hosts are all, some are these")
	}
}

func TestAReplicaCannotBeWritten(t *testing.T) {
	kind, _ := KindNamed("Replica")
	if faults := kind.New().Validate(); len(faults) != 1 || !kind.ReadOnly {
		t.Errorf("%v", faults)
	}
	r := &Replica{Spec: ReplicaSpec{Service: "nms", Host: "host-a"}, Status: ReplicaStatus{State: ReplicaStateLeaving}}
	for field, want := range map[string]string{"spec.service": "nms", "spec.host": "host-a", "status.state": "Leaving", "spec.none": ""} {
		if got := FieldOf(r, field); got != want {
			t.Errorf("%s is %q", field, got)
		}
	}
}
