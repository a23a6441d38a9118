// Package keyspace names every etcd key of CYPHONIC and the JSON record behind
// it. The manager, which writes most of them, and the replicas of the
// services, which watch them, meet here.
//
// The package holds names and shapes only: it must not talk to etcd, import an
// etcd client, or know how a record is used.
//
//	/cyphonic/v1/resources/<plural>/<name>            a resource as JSON (package api)
//	/cyphonic/v1/references/<plural>/<name>/<by>      who refers to a resource (Owner)
//	/cyphonic/v1/ipam/<network>/<4|6>/<address>       an allocated virtual address (Owner)
//	/cyphonic/v1/unique/<network>/<mac|fqdn>/<value>  a value used once per network (Owner)
//	/cyphonic/v1/keys/<ticket|relay|access>/<id>      a symmetric key of the replicas (KeyRecord)
//	/cyphonic/v1/enrolled/<plural>/<name>             the key of a device (EnrolledRecord)
//	/cyphonic/v1/tokens/<hash>                        enrolment token by hash (TokenRecord)
//	/cyphonic/v1/consumed/<token uid>                 a used enrolment token (ConsumedRecord)
//	/cyphonic/v1/apitokens/<hash>                     API token by hash (TokenRecord)
//	/cyphonic/v1/deleting/<plural>/<name>             a resource whose dependents are being deleted (Owner)
//	/cyphonic/v1/resources/~                          no resource: written to see how far a watch is (empty)
//
// What live replicas say of themselves is below ReplicasRoot.
//
// What is written often and read seldom is apart, so that who watches the keys
// above is not troubled by it:
//
//	/cyphonic/log/v1/audit/…                          records of who did what (package manager/audit)
//	/cyphonic/log/v1/events/<plural>/<name>/<id>      an event about a resource; goes by itself
//	/cyphonic/log/v1/idempotency/<hash>               the first answer to a request; goes by itself
//	/cyphonic/log/v1/leaders/<name>                   who leads (LeaderRecord); goes with its holder
//	/cyphonic/log/v1/managers/<id>                    a replica of the manager; goes with it
//	/cyphonic/log/v1/restoring                        a backup is being restored, or was only half (package manager/backup)
//	/cyphonic/schema                                  the version of this layout (SchemaRecord)
package keyspace

import (
	"net/netip"
	"strings"
)

// Root is the prefix of the desired state. It ends with a slash, as all prefixes here
// do, so that no prefix covers a neighbour's keys.
const Root = "/cyphonic/v1/"

// Plurals of the resource kinds, as in REST paths.
const (
	Networks         = "networks"
	Nodes            = "nodes"
	Adapters         = "adapters"
	GeneralNodes     = "generalnodes"
	AccessPolicies   = "accesspolicies"
	CloudServices    = "cloudservices"
	EnrollmentTokens = "enrollmenttokens"
)

// Plurals lists the plurals of all resource kinds, referred-to kinds first.
func Plurals() []string {
	return []string{
		Networks, Roles, BGPPeers, Adapters, Nodes, GeneralNodes, AccessPolicies, CloudServices,
		BGPAdvertisements, EnrollmentTokens, APITokens, RoleBindings, GitSources,
	}
}

// ResourcesPrefix covers the resources of all kinds.
const ResourcesPrefix = Root + "resources/"

// ResourcesMark is the key that a manager writes where etcd cannot be asked
// otherwise how far a watch of the resources is.
const ResourcesMark = ResourcesPrefix + "~"

// ResourcePrefix covers the resources of one kind.
func ResourcePrefix(plural string) string { return ResourcesPrefix + plural + "/" }

// Resource is the key of one resource.
func Resource(plural, name string) string { return ResourcePrefix(plural) + name }

// ParseResource splits the key of a resource.
func ParseResource(key string) (plural, name string, ok bool) {
	return splitTwo(key, ResourcesPrefix)
}

// ReferencePrefix covers the references to one resource. While a key exists
// below it the resource must not be deleted.
func ReferencePrefix(plural, name string) string {
	return Root + "references/" + plural + "/" + name + "/"
}

// Reference is the key that says that byPlural/byName refers to plural/name.
func Reference(plural, name, byPlural, byName string) string {
	return ReferencePrefix(plural, name) + byPlural + "." + byName
}

// IPAMPrefix covers the allocated addresses of one family of a network.
func IPAMPrefix(network string, v6 bool) string {
	family := "4"
	if v6 {
		family = "6"
	}
	return Root + "ipam/" + network + "/" + family + "/"
}

// IPAMAddress is the key of one allocated address, in the text form of
// RFC 5952. The address must not be an IPv4-mapped IPv6 address.
func IPAMAddress(network string, addr netip.Addr) string {
	return IPAMPrefix(network, addr.Is6()) + addr.String()
}

// ParseIPAMAddress splits the key of an allocated address.
func ParseIPAMAddress(key string) (network string, addr netip.Addr, ok bool) {
	rest, found := strings.CutPrefix(key, Root+"ipam/")
	if !found {
		return "", netip.Addr{}, false
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 3 || parts[0] == "" {
		return "", netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(parts[2])
	if err != nil || addr.Is4In6() || addr.Is6() != (parts[1] == "6") {
		return "", netip.Addr{}, false
	}
	return parts[0], addr, true
}

// UniqueMAC is the key of a general node's MAC address (lower case, colons).
func UniqueMAC(network, mac string) string {
	return Root + "unique/" + network + "/mac/" + strings.ToLower(mac)
}

// UniqueFQDN is the key of a fully qualified domain name, without its trailing dot.
func UniqueFQDN(network, fqdn string) string {
	return Root + "unique/" + network + "/fqdn/" + strings.ToLower(strings.TrimSuffix(fqdn, "."))
}

// Purpose is what a symmetric key of the replicas is for.
type Purpose string

// The purposes. Keys of different purposes are never the same.
const (
	PurposeTicket Purpose = "ticket" // seals tickets (AS → node → NMS)
	PurposeRelay  Purpose = "relay"  // seals relay tokens (NMS → node → TRS)
	PurposeAccess Purpose = "access" // seals access tokens (AS → adapter → manager)
)

// Purposes lists all purposes.
func Purposes() []Purpose { return []Purpose{PurposeTicket, PurposeRelay, PurposeAccess} }

// KeysPrefix covers the keys of all purposes.
const KeysPrefix = Root + "keys/"

// KeyPrefix covers the keys of one purpose.
func KeyPrefix(p Purpose) string { return KeysPrefix + string(p) + "/" }

// Key is the name of one symmetric key; id is KeyRecord.ID.
func Key(p Purpose, id uint32) string { return KeyPrefix(p) + formatID(id) }

// ParseKey splits the name of a symmetric key.
func ParseKey(key string) (Purpose, uint32, bool) {
	purpose, text, ok := splitTwo(key, KeysPrefix)
	if !ok {
		return "", 0, false
	}
	id, err := parseID(text)
	if err != nil {
		return "", 0, false
	}
	return Purpose(purpose), id, true
}

// EnrolledPrefix covers the enrolled keys of all devices.
const EnrolledPrefix = Root + "enrolled/"

// Enrolled is the name of a device's key. The kind is given by its plural
// (Nodes, Adapters or GeneralNodes).
func Enrolled(plural, name string) string { return EnrolledPrefix + plural + "/" + name }

// ParseEnrolled splits the name of a device's key.
func ParseEnrolled(key string) (plural, name string, ok bool) {
	return splitTwo(key, EnrolledPrefix)
}

// TokensPrefix covers the enrolment tokens by hash.
const TokensPrefix = Root + "tokens/"

// Token is the name of an enrolment token's index entry; hash is the hex
// SHA-256 of the whole secret.
func Token(hash string) string { return TokensPrefix + hash }

// ConsumedPrefix covers the used enrolment tokens.
const ConsumedPrefix = Root + "consumed/"

// Consumed is the name of the mark that a token was used. Who consumes a
// token creates it in the same transaction that checks that Token(hash)
// exists and that writes Enrolled: a token is used once or not at all.
func Consumed(tokenUID string) string { return ConsumedPrefix + tokenUID }

func splitTwo(key, prefix string) (first, second string, ok bool) {
	rest, found := strings.CutPrefix(key, prefix)
	if !found {
		return "", "", false
	}
	first, second, found = strings.Cut(rest, "/")
	if !found || first == "" || second == "" || strings.Contains(second, "/") {
		return "", "", false
	}
	return first, second, true
}
