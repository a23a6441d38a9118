package api

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// validDocuments has one document per kind with every field that can be given.
func validDocuments() map[string]string {
	const hash = "$argon2id$v=19$m=19456,t=2,p=1$GAFwufTUjgsIpnbenXxZMw$4djEzUixDhaDH8kZukjv9GAP2y9MFjuKGgE076gaqa8"
	return map[string]string{
		"Network": `{"apiVersion":"cyphonic/v1","kind":"Network","metadata":{"name":"factory"},
			"spec":{"ipv4Prefix":"100.96.0.0/16","ipv6Prefix":"fd96:c1f0::/64","domain":"factory.example.internal"}}`,
		"Node": `{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"viewer","labels":{"role":"viewer"},"annotations":{"example.org/room":"12"}},
			"spec":{"network":"factory","fqdn":"v.factory.example.internal","virtualIPv4":"100.96.0.9","virtualIPv6":"fd96:c1f0::9","disabled":true,
			"authentication":{"passwordHash":"` + hash + `"}},
			"status":{"phase":"Up","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z"}]}}`,
		"Adapter": `{"apiVersion":"cyphonic/v1","kind":"Adapter","metadata":{"name":"gateway-a"},
			"spec":{"network":"factory","authentication":{"passwordHash":"` + hash + `"}}}`,
		"GeneralNode": `{"apiVersion":"cyphonic/v1","kind":"GeneralNode","metadata":{"name":"cam1"},
			"spec":{"network":"factory","adapter":"gateway-a","mac":"02:00:00:00:01:01","addressMode":"dual","authentication":{"method":"dot1x"}}}`,
		"AccessPolicy": `{"apiVersion":"cyphonic/v1","kind":"AccessPolicy","metadata":{"name":"p"},
			"spec":{"network":"factory","from":[{"kinds":["Node"],"names":["viewer"]}],"to":[{"matchLabels":{"role":"camera"}}],
			"rules":[{"protocol":"tcp","ports":["80","8000-8100"]},{"protocol":"icmp"}],"minimumAssurance":"key"}}`,
		"CloudService": `{"apiVersion":"cyphonic/v1","kind":"CloudService","metadata":{"name":"as"},
			"spec":{"service":"as","ipv4":"203.0.113.10","ipv6":"2001:db8::1","port":7441}}`,
		"BGPPeer": `{"apiVersion":"cyphonic/v1","kind":"BGPPeer","metadata":{"name":"tor-a"},
			"spec":{"peerAddress":"2001:db8::1","peerASN":64512,"localASN":64513,"peerPort":1179,"localAddress":"2001:db8::2","hosts":["host-a.example.org"],
			"passwordSecret":"tor-a.password","holdTimeSeconds":3,"connectRetrySeconds":1,"ttlSecurity":true,"addressFamilies":["ipv4","ipv6"],"extendedNextHop":true,
			"maxReceivedPrefixes":10,"passive":true,"bfd":{"enabled":true,"receiveIntervalMilliseconds":50,"transmitIntervalMilliseconds":60,"detectMultiplier":4}},
			"status":{"sessions":[{"host":"host-a","state":"Established","since":"2026-01-02T03:04:05Z","advertised":6,"received":1,"bfd":"Up"}]}}`,
		"BGPAdvertisement": `{"apiVersion":"cyphonic/v1","kind":"BGPAdvertisement","metadata":{"name":"all"},
			"spec":{"services":["as"],"peers":["tor-a"],"hosts":["host-a"],"communities":["64512:100","no-export"],"largeCommunities":["4200000000:1:2"],
			"localPreference":200,"med":10,"asPathPrepend":2},
			"status":{"prefixes":[{"prefix":"203.0.113.10/32","hosts":["host-a"]}]}}`,
		"EnrollmentToken": `{"apiVersion":"cyphonic/v1","kind":"EnrollmentToken","metadata":{"name":"t"},
			"spec":{"subjectKind":"Node","subjectName":"viewer","ttlSeconds":3600}}`,
		"Role": `{"apiVersion":"cyphonic/v1","kind":"Role","metadata":{"name":"r","finalizers":["example.org/keep"]},
			"spec":{"rules":[{"verbs":["get","list"],"kinds":["Node","Audit"],"networks":["factory"]},{"verbs":["*"],"kinds":["*"]}]}}`,
		"RoleBinding": `{"apiVersion":"cyphonic/v1","kind":"RoleBinding","metadata":{"name":"b"},
			"spec":{"role":"editor","subjects":[{"kind":"User","name":"alice@example.org"},{"kind":"Token","name":"ci"}],"networks":["factory"]}}`,
		"APIToken": `{"apiVersion":"cyphonic/v1","kind":"APIToken","metadata":{"name":"ci"},
			"spec":{"description":"pipeline","ttlSeconds":3600,"rules":[{"verbs":["get"],"kinds":["Node"]}]}}`,
		"GitSource": `{"apiVersion":"cyphonic/v1","kind":"GitSource","metadata":{"name":"fleet"},
			"spec":{"url":"https://git.example.org/fleet.git","branch":"main","path":"sites/hall-1","intervalSeconds":30,"secretName":"fleet","role":"editor","maxDeletions":5}}`,
	}
}

func writableKinds() []Kind {
	return slices.DeleteFunc(Kinds(), func(k Kind) bool { return k.ReadOnly })
}

func decodeValid(t *testing.T, document string) Object {
	t.Helper()
	object, err := DecodeObject([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	object.Default()
	return object
}

func TestValidDocumentsHaveNoFaults(t *testing.T) {
	documents := validDocuments()
	for _, kind := range writableKinds() {
		document, ok := documents[kind.Name]
		if !ok {
			t.Fatalf("no document for kind %s", kind.Name)
		}
		if faults := decodeValid(t, document).Validate(); faults != nil {
			t.Errorf("%s: %v", kind.Name, faults)
		}
	}
}

// wrong is a valid document with one text in place of another, and where the fault is.
type wrong struct{ kind, old, new, pointer string }

func wrongDevices() map[string]wrong {
	return map[string]wrong{
		"version":                      {"Node", "cyphonic/v1", "cyphonic/v0", "/apiVersion"},
		"kind":                         {"Node", `"kind":"Node"`, `"kind":"Adapter"`, "/kind"},
		"no name":                      {"Node", `"name":"viewer"`, `"name":""`, "/metadata/name"},
		"name in capitals":             {"Node", `"name":"viewer"`, `"name":"Viewer"`, "/metadata/name"},
		"name with a dash at the end":  {"Node", `"name":"viewer"`, `"name":"viewer-"`, "/metadata/name"},
		"name of 64":                   {"Node", `"name":"viewer"`, `"name":"` + strings.Repeat("a", 64) + `"`, "/metadata/name"},
		"label key":                    {"Node", `"role":`, `"ro le":`, "/metadata/labels/ro le"},
		"label value":                  {"Node", `"role":"viewer"`, `"role":"` + strings.Repeat("a", 64) + `"`, "/metadata/labels/role"},
		"no network":                   {"Node", `"network":"factory"`, `"network":""`, "/spec/network"},
		"FQDN with a space":            {"Node", "v.factory", "v factory", "/spec/fqdn"},
		"IPv6 as IPv4":                 {"Node", "100.96.0.9", "fd96::9", "/spec/virtualIPv4"},
		"IPv4 as IPv6":                 {"Node", "fd96:c1f0::9", "100.96.0.9", "/spec/virtualIPv6"},
		"mapped IPv4":                  {"Node", "fd96:c1f0::9", "::ffff:100.96.0.9", "/spec/virtualIPv6"},
		"zone":                         {"Node", "fd96:c1f0::9", "fe80::1%eth0", "/spec/virtualIPv6"},
		"multicast":                    {"Node", "100.96.0.9", "224.0.0.1", "/spec/virtualIPv4"},
		"password in clear":            {"Node", "$argon2id$v=19", "secret", "/spec/authentication/passwordHash"},
		"phase":                        {"Node", `"phase":"Up"`, `"phase":"up"`, "/status/phase"},
		"condition":                    {"Node", `"status":"True"`, `"status":"yes"`, "/status/conditions/0/status"},
		"adapter without network":      {"Adapter", `"network":"factory"`, `"network":"Factory"`, "/spec/network"},
		"prefix too wide":              {"Network", "100.96.0.0/16", "64.0.0.0/7", "/spec/ipv4Prefix"},
		"prefix too narrow":            {"Network", "100.96.0.0/16", "100.96.0.0/30", "/spec/ipv4Prefix"},
		"loopback prefix":              {"Network", "100.96.0.0/16", "127.0.0.0/8", "/spec/ipv4Prefix"},
		"address for a prefix":         {"Network", "100.96.0.0/16", "100.96.0.0", "/spec/ipv4Prefix"},
		"IPv4 prefix as IPv6":          {"Network", "fd96:c1f0::/64", "10.0.0.0/8", "/spec/ipv6Prefix"},
		"link-local prefix":            {"Network", "fd96:c1f0::/64", "fe80::/64", "/spec/ipv6Prefix"},
		"domain of one label":          {"Network", "factory.example.internal", "internal", "/spec/domain"},
		"no domain":                    {"Network", "factory.example.internal", "", "/spec/domain"},
		"MAC with dashes":              {"GeneralNode", "02:00:00:00:01:01", "02-00-00-00-01-01", "/spec/mac"},
		"EUI-64":                       {"GeneralNode", "02:00:00:00:01:01", "02:00:00:00:01:01:00:00", "/spec/mac"},
		"multicast MAC":                {"GeneralNode", "02:00:00:00:01:01", "01:00:5e:00:00:01", "/spec/mac"},
		"zero MAC":                     {"GeneralNode", "02:00:00:00:01:01", "00:00:00:00:00:00", "/spec/mac"},
		"address mode":                 {"GeneralNode", `"dual"`, `"both"`, "/spec/addressMode"},
		"authentication method":        {"GeneralNode", `"dot1x"`, `"none"`, "/spec/authentication/method"},
		"no adapter":                   {"GeneralNode", `"gateway-a"`, `""`, "/spec/adapter"},
		"no source":                    {"AccessPolicy", `[{"kinds":["Node"],"names":["viewer"]}]`, `[]`, "/spec/from"},
		"kind that cannot be selected": {"AccessPolicy", `"kinds":["Node"]`, `"kinds":["Node","Adapter"]`, "/spec/from/0/kinds/1"},
		"kind twice":                   {"AccessPolicy", `"kinds":["Node"]`, `"kinds":["Node","Node"]`, "/spec/from/0/kinds/1"},
		"protocol":                     {"AccessPolicy", `"icmp"`, `"sctp"`, "/spec/rules/1/protocol"},
		"ports of icmp":                {"AccessPolicy", `"icmp"`, `"icmp","ports":["80"]`, "/spec/rules/1/ports"},
		"port 0":                       {"AccessPolicy", `"80"`, `"0"`, "/spec/rules/0/ports/0"},
		"port 65536":                   {"AccessPolicy", `"80"`, `"65536"`, "/spec/rules/0/ports/0"},
		"range backwards":              {"AccessPolicy", `"8000-8100"`, `"8100-8000"`, "/spec/rules/0/ports/1"},
		"more rules than a message":    {"AccessPolicy", `"80"`, `"80"` + strings.Repeat(`,"80"`, 31), "/spec/rules"},
		"assurance":                    {"AccessPolicy", `"key"`, `"high"`, "/spec/minimumAssurance"},
	}
}

func wrongAdministration() map[string]wrong {
	return map[string]wrong{
		"service":                      {"CloudService", `"service":"as"`, `"service":"dns"`, "/spec/service"},
		"no address":                   {"CloudService", `"ipv4":"203.0.113.10","ipv6":"2001:db8::1",`, ``, "/spec"},
		"port":                         {"CloudService", `7441`, `70000`, "/spec/port"},
		"subject kind":                 {"EnrollmentToken", `"subjectKind":"Node"`, `"subjectKind":"GeneralNode"`, "/spec/subjectKind"},
		"time to live":                 {"EnrollmentToken", `3600`, `59`, "/spec/ttlSeconds"},
		"finalizer":                    {"Role", `"example.org/keep"`, `"a b"`, "/metadata/finalizers/0"},
		"finalizer twice":              {"Role", `"example.org/keep"`, `"a","a"`, "/metadata/finalizers/1"},
		"verb":                         {"Role", `"list"`, `"read"`, "/spec/rules/0/verbs/1"},
		"kind of a rule":               {"Role", `"Audit"`, `"Camera"`, "/spec/rules/0/kinds/1"},
		"network of a rule":            {"Role", `["factory"]`, `["Factory"]`, "/spec/rules/0/networks/0"},
		"no rules":                     {"Role", `[{"verbs":["get","list"],"kinds":["Node","Audit"],"networks":["factory"]},{"verbs":["*"],"kinds":["*"]}]`, `[]`, "/spec/rules"},
		"binding without role":         {"RoleBinding", `"editor"`, `""`, "/spec/role"},
		"subject of a binding":         {"RoleBinding", `"User"`, `"Robot"`, "/spec/subjects/0/kind"},
		"no subject name":              {"RoleBinding", `"alice@example.org"`, `""`, "/spec/subjects/0/name"},
		"any network in a binding":     {"RoleBinding", `["factory"]`, `["*"]`, "/spec/networks/0"},
		"time to live of an API token": {"APIToken", `3600`, `31536001`, "/spec/ttlSeconds"},
		"rule of an API token":         {"APIToken", `"get"`, `"fetch"`, "/spec/rules/0/verbs/0"},
		"git over http":                {"GitSource", "https://", "http://", "/spec/url"},
		"git on disk":                  {"GitSource", "https://git.example.org", "file:///srv", "/spec/url"},
		"git with a password":          {"GitSource", "https://", "https://a:b@", "/spec/url"},
		"git with a user over https":   {"GitSource", "https://", "https://a@", "/spec/url"},
		"git with a password over ssh": {"GitSource", "https://", "ssh://a:b@", "/spec/url"},
		"branch":                       {"GitSource", `"main"`, `"-x"`, "/spec/branch"},
		"branch with dots":             {"GitSource", `"main"`, `"a..b"`, "/spec/branch"},
		"path out of the repository":   {"GitSource", "sites/hall-1", "../x", "/spec/path"},
		"path from the root":           {"GitSource", "sites/hall-1", "/etc", "/spec/path"},
		"interval":                     {"GitSource", `30`, `5`, "/spec/intervalSeconds"},
		"deletions":                    {"GitSource", `:5}`, `:-1}`, "/spec/maxDeletions"},
		"secret name":                  {"GitSource", `"secretName":"fleet"`, `"secretName":"../x"`, "/spec/secretName"},
	}
}

func TestValidateNamesTheFieldAtFault(t *testing.T) {
	rows := wrongDevices()
	maps.Copy(rows, wrongAdministration())
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			document := strings.Replace(validDocuments()[row.kind], row.old, row.new, 1)
			if document == validDocuments()[row.kind] {
				t.Fatalf("the document of %s has no %s", row.kind, row.old)
			}
			kind, _ := KindNamed(row.kind)
			object := kind.New()
			if err := Decode([]byte(document), object); err != nil {
				t.Fatal(err)
			}
			object.Default()
			faults := object.Validate()
			if len(faults) != 1 || faults[0].Pointer != row.pointer || faults[0].Detail == "" {
				t.Errorf("got %v; want one fault at %s", faults, row.pointer)
			}
		})
	}
}

func TestDefaultIsIdempotentAndFillsIn(t *testing.T) {
	rows := map[string]struct {
		document string
		want     any
		got      func(Object) any
	}{
		"general node": {
			`{"apiVersion":"cyphonic/v1","kind":"GeneralNode","metadata":{"name":"a"},"spec":{"network":"n","adapter":"g","mac":"02:AA:00:00:00:01"}}`,
			GeneralNodeSpec{
				Network: "n", Adapter: "g", Mac: "02:aa:00:00:00:01", AddressMode: AddressModeIpv4,
				Authentication: GeneralNodeAuthentication{Method: AuthenticationMethodMac},
			},
			func(o Object) any { return o.(*GeneralNode).Spec },
		},
		"node": {
			`{"apiVersion":"cyphonic/v1","kind":"Node","metadata":{"name":"a"},"spec":{"network":"n","fqdn":"A.Example.Internal.","virtualIPv6":"FD96:0:0:0::1"}}`,
			NodeSpec{Network: "n", Fqdn: "a.example.internal", VirtualIPv6: "fd96::1"},
			func(o Object) any { return o.(*Node).Spec },
		},
		"network": {
			`{"apiVersion":"cyphonic/v1","kind":"Network","metadata":{"name":"a"},"spec":{"ipv4Prefix":"10.1.2.3/16","ipv6Prefix":"fd00::1/64","domain":"A.B."}}`,
			NetworkSpec{Ipv4Prefix: "10.1.0.0/16", Ipv6Prefix: "fd00::/64", Domain: "a.b"},
			func(o Object) any { return o.(*Network).Spec },
		},
		"cloud service": {
			`{"apiVersion":"cyphonic/v1","kind":"CloudService","metadata":{"name":"a"},"spec":{"service":"trs","ipv4":"192.0.2.1"}}`,
			CloudServiceSpec{Service: ServiceNameTrs, Ipv4: "192.0.2.1", Port: 7443},
			func(o Object) any { return o.(*CloudService).Spec },
		},
		"token": {
			`{"apiVersion":"cyphonic/v1","kind":"EnrollmentToken","metadata":{"name":"a"},"spec":{"subjectKind":"Node","subjectName":"n"}}`,
			EnrollmentTokenSpec{SubjectKind: SubjectKindNode, SubjectName: "n", TtlSeconds: 86400},
			func(o Object) any { return o.(*EnrollmentToken).Spec },
		},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			object := decodeValid(t, row.document)
			if difference := cmp.Diff(row.want, row.got(object)); difference != "" {
				t.Error(difference)
			}
			object.Default()
			if difference := cmp.Diff(row.want, row.got(object)); difference != "" {
				t.Errorf("the second time: %s", difference)
			}
		})
	}
}

func TestCheckInNetwork(t *testing.T) {
	network := decodeValid(t, validDocuments()["Network"]).(*Network)
	rows := map[string]struct {
		spec NodeSpec
		want string // pointer
	}{
		"nothing fixed":         {NodeSpec{}, ""},
		"inside":                {NodeSpec{Fqdn: "a.b.factory.example.internal", VirtualIPv4: "100.96.255.254", VirtualIPv6: "fd96:c1f0::ffff"}, ""},
		"name elsewhere":        {NodeSpec{Fqdn: "a.example.internal"}, "/spec/fqdn"},
		"name of the domain":    {NodeSpec{Fqdn: "factory.example.internal"}, "/spec/fqdn"},
		"suffix without a dot":  {NodeSpec{Fqdn: "afactory.example.internal"}, "/spec/fqdn"},
		"outside":               {NodeSpec{VirtualIPv4: "100.97.0.1"}, "/spec/virtualIPv4"},
		"gateway":               {NodeSpec{VirtualIPv4: "100.96.0.1"}, "/spec/virtualIPv4"},
		"network address":       {NodeSpec{VirtualIPv4: "100.96.0.0"}, "/spec/virtualIPv4"},
		"broadcast address":     {NodeSpec{VirtualIPv4: "100.96.255.255"}, "/spec/virtualIPv4"},
		"IPv6 gateway":          {NodeSpec{VirtualIPv6: "fd96:c1f0::1"}, "/spec/virtualIPv6"},
		"last of the IPv6 ones": {NodeSpec{VirtualIPv6: "fd96:c1f0::ffff:ffff:ffff:ffff"}, ""},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			faults := CheckInNetwork(&Node{Metadata: ObjectMeta{Name: "a"}, Spec: row.spec}, network)
			got := ""
			if len(faults) > 0 {
				got = faults[0].Pointer
			}
			if got != row.want || len(faults) > 1 {
				t.Errorf("got %v; want %q", faults, row.want)
			}
		})
	}
}

func TestCheckUpdateRefusesFixedFields(t *testing.T) {
	for kind, change := range map[string][3]string{
		"Network":         {"100.96.0.0/16", "100.97.0.0/16", "/spec/ipv4Prefix"},
		"Node":            {`"network":"factory"`, `"network":"other"`, "/spec/network"},
		"Adapter":         {`"network":"factory"`, `"network":"other"`, "/spec/network"},
		"GeneralNode":     {`"network":"factory"`, `"network":"other"`, "/spec/network"},
		"AccessPolicy":    {`"network":"factory"`, `"network":"other"`, "/spec/network"},
		"EnrollmentToken": {`3600`, `3601`, "/spec/ttlSeconds"},
	} {
		before := decodeValid(t, validDocuments()[kind])
		after := decodeValid(t, strings.Replace(validDocuments()[kind], change[0], change[1], 1))
		if faults := CheckUpdate(before, before); faults != nil {
			t.Errorf("%s: no change: %v", kind, faults)
		}
		if faults := CheckUpdate(before, after); len(faults) != 1 || faults[0].Pointer != change[2] {
			t.Errorf("%s: got %v; want %s", kind, faults, change[2])
		}
	}
}

func TestKindsReferOnlyToLowerRanks(t *testing.T) {
	for _, kind := range writableKinds() {
		for _, reference := range decodeValid(t, validDocuments()[kind.Name]).References() {
			target, ok := KindNamed(reference.Kind)
			if !ok || target.Rank >= kind.Rank || reference.Name == "" {
				t.Errorf("%s refers to %+v of rank %d, its own is %d", kind.Name, reference, target.Rank, kind.Rank)
			}
		}
	}
}

func TestListHasTheFormOfTheGeneratedType(t *testing.T) {
	node := decodeValid(t, validDocuments()["Node"]).(*Node)
	kind, _ := KindNamed("Node")
	generic, err := json.Marshal(kind.NewList("7", []Object{node}))
	if err != nil {
		t.Fatal(err)
	}
	typed, err := json.Marshal(NodeList{ApiVersion: Version, Kind: "NodeList", Metadata: ListMeta{ResourceVersion: "7"}, Items: []Node{*node}})
	if err != nil {
		t.Fatal(err)
	}
	var fromTyped, fromGeneric map[string]any
	if err := errors.Join(json.Unmarshal(typed, &fromTyped), json.Unmarshal(generic, &fromGeneric)); err != nil {
		t.Fatal(err)
	}
	if difference := cmp.Diff(fromTyped, fromGeneric); difference != "" {
		t.Error(difference)
	}
	list, err := kind.DecodeList(generic)
	if err != nil {
		t.Fatal(err)
	}
	if difference := cmp.Diff(kind.NewList("7", []Object{node}), list); difference != "" {
		t.Error(difference)
	}
}

func TestSetStatusCopiesTheStatusOnly(t *testing.T) {
	for _, kind := range writableKinds() {
		from, to := decodeValid(t, validDocuments()[kind.Name]), kind.New()
		to.SetStatus(from)
		if difference := cmp.Diff(from.StatusPart(), to.StatusPart()); difference != "" {
			t.Errorf("%s: %s", kind.Name, difference)
		}
		if difference := cmp.Diff(kind.New().SpecPart(), to.SpecPart()); difference != "" {
			t.Errorf("%s: %s", kind.Name, difference)
		}
	}
}

func TestPortRange(t *testing.T) {
	for text, want := range map[string][2]uint16{
		"80": {80, 80}, "1-65535": {1, 65535}, "8000-8000": {8000, 8000},
		"": {}, "0": {}, "-": {}, "80-": {}, "-80": {}, "2-1": {}, "65536": {}, "+80": {}, "8 0": {}, "1-2-3": {},
	} {
		low, high, ok := PortRange(text)
		if ok != (want[0] != 0) || low != want[0] || high != want[1] {
			t.Errorf("%q: got %d, %d, %t; want %v", text, low, high, ok, want)
		}
	}
}
