package api

import (
	"cmp"
	"encoding/json"
	"slices"
)

// Version is the apiVersion of every resource.
const Version = "cyphonic/v1"

// Object is a resource of any kind. The pointers to the generated resource types implement it.
type Object interface {
	// KindName is the name of the kind whatever the field Kind says.
	KindName() string
	// Meta points into the object.
	Meta() *ObjectMeta
	// SetType writes the fields apiVersion and kind.
	SetType()
	// Default fills in what the specification leaves open and brings values to their canonical form. It is idempotent.
	Default()
	// Validate returns the faults of the object by itself. It expects a defaulted object.
	Validate() FieldErrors
	// References returns what the specification refers to by name.
	References() []Reference
	// SpecPart and StatusPart point into the object, for comparing and encoding the parts by themselves.
	SpecPart() any
	StatusPart() any
	// SetStatus copies the status of an object of the same kind; it panics if the kind differs.
	SetStatus(from Object)
}

// Reference says that the field at Pointer names a resource.
type Reference struct{ Kind, Name, Pointer string }

// Kind describes a kind of resource.
type Kind struct {
	Name   string        // as in the field kind: Node
	Plural string        // as in paths: nodes
	Short  string        // for command lines; may be empty
	Rank   int           // a kind refers only to kinds of lower rank: create in this order, delete in the reverse
	New    func() Object // an empty object with apiVersion and kind set
	// ReadOnly kinds are not written through the API: events the manager makes, replicas say themselves what they are.
	ReadOnly bool
}

// Kinds returns all kinds in the order of their ranks.
func Kinds() []Kind {
	return []Kind{
		{Name: "Network", Plural: "networks", Short: "net", Rank: 0, New: newObject[Network]},
		{Name: "CloudService", Plural: "cloudservices", Short: "cs", Rank: 0, New: newObject[CloudService]},
		{Name: "Role", Plural: "roles", Rank: 0, New: newObject[Role]},
		{Name: "BGPPeer", Plural: "bgppeers", Short: "bp", Rank: 0, New: newObject[BGPPeer]},
		{Name: "Adapter", Plural: "adapters", Rank: 1, New: newObject[Adapter]},
		{Name: "BGPAdvertisement", Plural: "bgpadvertisements", Short: "ba", Rank: 1, New: newObject[BGPAdvertisement]},
		{Name: "Node", Plural: "nodes", Rank: 2, New: newObject[Node]},
		{Name: "GeneralNode", Plural: "generalnodes", Short: "gn", Rank: 2, New: newObject[GeneralNode]},
		{Name: "AccessPolicy", Plural: "accesspolicies", Short: "ap", Rank: 3, New: newObject[AccessPolicy]},
		{Name: "EnrollmentToken", Plural: "enrollmenttokens", Short: "et", Rank: 3, New: newObject[EnrollmentToken]},
		{Name: "APIToken", Plural: "apitokens", Short: "at", Rank: 3, New: newObject[APIToken]},
		{Name: "RoleBinding", Plural: "rolebindings", Short: "rb", Rank: 3, New: newObject[RoleBinding]},
		{Name: "GitSource", Plural: "gitsources", Short: "gs", Rank: 3, New: newObject[GitSource]},
		{Name: "Replica", Plural: "replicas", Short: "rep", Rank: 4, New: newObject[Replica], ReadOnly: true},
		{Name: "Event", Plural: "events", Short: "ev", Rank: 4, New: newObject[Event], ReadOnly: true},
	}
}

// KindNamed finds a kind by the value of the field kind.
func KindNamed(name string) (Kind, bool) {
	return findKind(func(k Kind) bool { return k.Name == name })
}

// KindOfPlural finds a kind by the word in the paths of the REST API.
func KindOfPlural(plural string) (Kind, bool) {
	return findKind(func(k Kind) bool { return k.Plural == plural })
}

// CompareRank orders objects so that what others refer to comes first; objects of the same rank are equal.
func CompareRank(a, b Object) int { return cmp.Compare(rankOf(a), rankOf(b)) }

// List is a list of any kind in the form of the generated list types.
type List struct {
	ApiVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   ListMeta `json:"metadata"`
	Items      []Object `json:"items"`
}

// NewList returns a list that encodes as the generated type of the kind does, with [] for no items.
func (k Kind) NewList(resourceVersion string, items []Object) List {
	if items == nil {
		items = []Object{}
	}
	return List{Version, k.Name + "List", ListMeta{ResourceVersion: resourceVersion}, items}
}

// DecodeList reads a list of this kind, as the manager sends it: fields that this version does not know are passed over.
func (k Kind) DecodeList(data []byte) (List, error) {
	var raw struct {
		ApiVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   ListMeta          `json:"metadata"`
		Items      []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return List{}, err
	}
	list := k.NewList("", nil)
	list.Metadata = raw.Metadata
	for _, item := range raw.Items {
		object := k.New()
		if err := json.Unmarshal(item, object); err != nil {
			return List{}, err
		}
		list.Items = append(list.Items, object)
	}
	return list, nil
}

func findKind(is func(Kind) bool) (Kind, bool) {
	kinds := Kinds()
	i := slices.IndexFunc(kinds, is)
	if i < 0 {
		return Kind{}, false
	}
	return kinds[i], true
}

func rankOf(o Object) int {
	kind, _ := KindNamed(o.KindName())
	return kind.Rank
}

func newObject[T any, P interface {
	*T
	Object
}]() Object {
	object := P(new(T))
	object.SetType()
	return object
}
