package keyspace

// Plurals of the kinds that say who may do what.
const (
	Roles        = "roles"
	RoleBindings = "rolebindings"
	APITokens    = "apitokens"
	GitSources   = "gitsources"
)

// APITokensPrefix covers the API tokens by hash.
const APITokensPrefix = Root + "apitokens/"

// APIToken is the name of an API token's index entry (TokenRecord); hash is the
// hex SHA-256 of the whole secret.
func APIToken(hash string) string { return APITokensPrefix + hash }

// DeletingPrefix covers the marks of resources whose deletion waits for those
// that refer to them.
const DeletingPrefix = Root + "deleting/"

// Deleting is the mark (Owner) of a resource whose deletion waits for those
// that refer to it. It is there exactly as long as the finalizer that says so.
func Deleting(plural, name string) string { return DeletingPrefix + plural + "/" + name }

// ParseDeleting splits the name of such a mark.
func ParseDeleting(key string) (plural, name string, ok bool) { return splitTwo(key, DeletingPrefix) }
