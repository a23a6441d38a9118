package scale

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/fields"
)

// Names that are the same in every fleet.
const (
	network      = "fleet"
	domain       = "fleet.example.internal"
	ipv4Prefix   = "10.0.0.0/8"
	ipv6Prefix   = "fd64:c1f0::/64"
	fieldManager = "cyphonicctl"
)

// fleet is a number of general nodes, the adapters that carry them, nodes that
// may reach them and the policies that say so. It has all keys that a manager
// writes that these were applied to.
type fleet struct {
	generalNodes, adapters int
	begun                  time.Time
	keys                   []keyspace.KeyRecord
	owned                  []api.ManagedFields // of every general node
	ring                   identity.Keyring
}

func newFleet(t *testing.T, generalNodes int) *fleet {
	t.Helper()
	f := &fleet{generalNodes: generalNodes, adapters: (generalNodes + perAdapter - 1) / perAdapter, begun: time.Now().UTC().Truncate(time.Second)}
	for range keyspace.Purposes() {
		r, err := keyspace.NewKeyRecord(rand.Reader, f.begun)
		if err != nil {
			t.Fatal(err)
		}
		f.keys = append(f.keys, r)
	}
	access := f.keys[slices.Index(keyspace.Purposes(), keyspace.PurposeAccess)]
	f.ring.Current = identity.SealingKey{ID: access.ID, Key: [32]byte(access.Secret)}
	var manifest map[string]any
	if err := json.Unmarshal(f.manifest(0, false), &manifest); err != nil {
		t.Fatal(err)
	}
	_, f.owned, _ = fields.Apply(nil, manifest, nil, fieldManager, false, f.begun)
	return f
}

// token is what the AS gives to an adapter when it logs in.
func (f *fleet) token(t *testing.T, adapter int) string {
	t.Helper()
	token, err := identity.SealAccessToken(rand.Reader, f.ring, identity.AccessClaims{
		Kind: "Adapter", Name: adapterName(adapter), UID: uid(keyspace.Adapters, adapter), NotAfter: time.Now().Add(12 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func adapterName(i int) string     { return fmt.Sprintf("hall-%05d", i) }
func generalNodeName(i int) string { return fmt.Sprintf("device-%07d", i) }
func nodeName(i int) string        { return fmt.Sprintf("operator-%03d", i) }
func policyName(i int) string      { return fmt.Sprintf("site-%02d", i) }

func mac(i int) string { return fmt.Sprintf("02:00:00:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255) }

// digest is what looks random of device i, so that a stream of the fleet is no
// smaller than one of a real fleet.
func digest(plural string, i int) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%s %d", plural, i))
}

func uid(plural string, i int) string {
	d := digest(plural, i)
	return fmt.Sprintf("%x-%x-%x-%x-%x", d[:4], d[4:6], d[6:8], d[8:10], d[10:16])
}

// labels of general node i: the site of its adapter, what it is, its line.
func (f *fleet) labels(i int) map[string]string {
	return map[string]string{"site": siteOf(i / perAdapter), "role": role(i), "line": fmt.Sprintf("line-%02d", i%16)}
}

func siteOf(adapter int) string { return fmt.Sprintf("site-%02d", adapter%sites) }

func role(i int) string { return []string{"camera", "reader", "controller", "printer"}[i%4] }

// manifest is what an operator wrote about general node i.
func (f *fleet) manifest(i int, disabled bool) []byte {
	return f.document(generalNodeName(i), mac(i), i, disabled)
}

func (f *fleet) document(name, mac string, i int, disabled bool) []byte {
	spec := map[string]any{
		"network": network, "adapter": adapterName(i / perAdapter % f.adapters), "mac": mac, "addressMode": "dual", "authentication": map[string]any{"method": "mac"},
	}
	if disabled {
		spec["disabled"] = true
	}
	return encode(map[string]any{"apiVersion": api.Version, "kind": "GeneralNode", "metadata": map[string]any{"name": name, "labels": f.labels(i)}, "spec": spec})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // nothing here can fail to be encoded
		panic(err)
	}
	return b
}

func (f *fleet) meta(plural, name string, i int, labels map[string]string) api.ObjectMeta {
	return api.ObjectMeta{Name: name, Uid: uid(plural, i), Generation: 1, CreationTimestamp: f.begun, UpdateTimestamp: f.begun, Labels: labels}
}

func (f *fleet) generalNode(i int) []byte {
	g := api.GeneralNode{Metadata: f.meta(keyspace.GeneralNodes, generalNodeName(i), i, f.labels(i))}
	g.SetType()
	g.Metadata.ManagedFields = f.owned
	g.Spec = api.GeneralNodeSpec{Network: network, Adapter: adapterName(i / perAdapter), Mac: mac(i), AddressMode: api.AddressModeDual}
	g.Default()
	g.Status = api.GeneralNodeStatus{
		Fqdn: g.Metadata.Name + "." + domain, Phase: api.DevicePhaseUp, NodeID: fmt.Sprintf("%x", digest("nodeID", i)), ObservedGeneration: 1,
		VirtualIPv4: f.v4(operators + i).String(), VirtualIPv6: f.v6(operators + i).String(),
	}
	return encode(g)
}

// v4 and v6 are the addresses that a manager gives to the i-th device: after
// that of the network and the gateway.
func (f *fleet) v4(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte((i + 2) >> 16), byte((i + 2) >> 8), byte(i + 2)})
}

func (f *fleet) v6(i int) netip.Addr {
	a := netip.MustParsePrefix(ipv6Prefix).Addr().As16()
	a[13], a[14], a[15] = byte((i+2)>>16), byte((i+2)>>8), byte(i+2)
	return netip.AddrFrom16(a)
}

func (f *fleet) adapter(i int) []byte {
	a := api.Adapter{Metadata: f.meta(keyspace.Adapters, adapterName(i), i, map[string]string{"site": siteOf(i)})}
	a.SetType()
	a.Spec.Network = network
	a.Default()
	a.Status.Phase = api.DevicePhaseUp
	return encode(a)
}

func (f *fleet) node(i int) []byte {
	n := api.Node{Metadata: f.meta(keyspace.Nodes, nodeName(i), i, map[string]string{"role": "operator", "site": siteOf(i)})}
	n.SetType()
	n.Spec.Network = network
	n.Default()
	n.Status.Fqdn, n.Status.VirtualIPv4, n.Status.VirtualIPv6 = n.Metadata.Name+"."+domain, f.v4(i).String(), f.v6(i).String()
	return encode(n)
}

// policy lets the operators of a site reach its cameras.
func (f *fleet) policy(i int, port string) *api.AccessPolicy {
	p := &api.AccessPolicy{Metadata: f.meta(keyspace.AccessPolicies, policyName(i), i, nil)}
	p.SetType()
	p.Spec = api.AccessPolicySpec{
		Network: network,
		From:    []api.Selector{{MatchLabels: map[string]string{"role": "operator", "site": siteOf(i)}}},
		To:      []api.Selector{{MatchLabels: map[string]string{"role": "camera", "site": siteOf(i)}}},
		Rules:   []api.PolicyRule{{Protocol: "tcp", Ports: []string{port}}},
	}
	p.Default()
	return p
}

func (f *fleet) network() []byte {
	n := api.Network{Metadata: f.meta(keyspace.Networks, network, 0, nil)}
	n.SetType()
	n.Spec = api.NetworkSpec{Ipv4Prefix: ipv4Prefix, Ipv6Prefix: ipv6Prefix, Domain: domain}
	n.Status.Ipv4Gateway, n.Status.Ipv6Gateway = "10.0.0.1", api.Gateway(netip.MustParsePrefix(ipv6Prefix)).String()
	return encode(n)
}

func owner(plural, name string, i int) []byte {
	return keyspace.Encode(keyspace.Owner{Kind: plural, Name: name, UID: uid(plural, i)})
}

// records are the keys of everything, ascending.
func (f *fleet) records() iter.Seq2[string, []byte] {
	groups := []func(yield func(string, []byte)){f.addresses, f.sharedKeys, f.references, f.resources, f.names}
	return func(yield func(string, []byte) bool) {
		more := true
		for _, group := range groups {
			group(func(key string, value []byte) { more = more && yield(key, value) })
		}
	}
}

func (f *fleet) device(i int) []byte {
	if i < operators {
		return owner(keyspace.Nodes, nodeName(i), i)
	}
	return owner(keyspace.GeneralNodes, generalNodeName(i-operators), i-operators)
}

// addresses ascend as text, not as numbers.
func (f *fleet) addresses(yield func(string, []byte)) {
	for _, address := range []func(int) netip.Addr{f.v4, f.v6} {
		order := make([]string, operators+f.generalNodes)
		for i := range order {
			order[i] = fmt.Sprintf("%s %d", keyspace.IPAMAddress(network, address(i)), i)
		}
		slices.SortFunc(order, func(a, b string) int {
			return strings.Compare(a[:strings.IndexByte(a, ' ')], b[:strings.IndexByte(b, ' ')])
		})
		for _, text := range order {
			key, number, _ := strings.Cut(text, " ")
			i, err := strconv.Atoi(number)
			if err != nil { // was written above
				panic(err)
			}
			yield(key, f.device(i))
		}
	}
}

func (f *fleet) sharedKeys(yield func(string, []byte)) {
	purposes := keyspace.Purposes()
	slices.Sort(purposes)
	for _, purpose := range purposes {
		r := f.keys[slices.Index(keyspace.Purposes(), purpose)]
		yield(keyspace.Key(purpose, r.ID), keyspace.Encode(r))
	}
}

func (f *fleet) references(yield func(string, []byte)) {
	for i := range f.generalNodes {
		name := generalNodeName(i)
		yield(keyspace.Reference(keyspace.Adapters, adapterName(i/perAdapter), keyspace.GeneralNodes, name), owner(keyspace.GeneralNodes, name, i))
	}
	f.each(func(plural, name string, i int, _ func() []byte) {
		if plural != keyspace.Networks {
			yield(keyspace.Reference(keyspace.Networks, network, plural, name), owner(plural, name, i))
		}
	})
}

func (f *fleet) resources(yield func(string, []byte)) {
	f.each(func(plural, name string, _ int, value func() []byte) { yield(keyspace.Resource(plural, name), value()) })
}

// each visits all resources in the order of their keys.
func (f *fleet) each(visit func(plural, name string, i int, value func() []byte)) {
	kinds := []struct {
		plural string
		count  int
		name   func(int) string
		value  func(int) []byte
	}{
		{keyspace.AccessPolicies, sites, policyName, func(i int) []byte { return encode(f.policy(i, "554")) }},
		{keyspace.Adapters, f.adapters, adapterName, f.adapter},
		{keyspace.GeneralNodes, f.generalNodes, generalNodeName, f.generalNode},
		{keyspace.Networks, 1, func(int) string { return network }, func(int) []byte { return f.network() }},
		{keyspace.Nodes, operators, nodeName, f.node},
	}
	for _, kind := range kinds {
		for i := range kind.count {
			visit(kind.plural, kind.name(i), i, func() []byte { return kind.value(i) })
		}
	}
}

func (f *fleet) names(yield func(string, []byte)) {
	fqdn := func(name string) string { return keyspace.UniqueFQDN(network, name+"."+domain) }
	for i := range f.generalNodes {
		yield(fqdn(generalNodeName(i)), owner(keyspace.GeneralNodes, generalNodeName(i), i))
	}
	for i := range operators {
		yield(fqdn(nodeName(i)), owner(keyspace.Nodes, nodeName(i), i))
	}
	for i := range f.generalNodes {
		yield(keyspace.UniqueMAC(network, mac(i)), owner(keyspace.GeneralNodes, generalNodeName(i), i))
	}
}
