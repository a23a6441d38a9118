package access

import (
	"strings"
	"time"
)

// Kind is a sort of subject.
type Kind string

// The sorts of subjects.
const (
	Admin       Kind = "Admin"       // the holder of the administrator's token: may everything
	Adapter     Kind = "Adapter"     // an adapter with an access token of the AS: may reach what is its own
	User        Kind = "User"        // somebody whom the OpenID provider vouches for
	Token       Kind = "Token"       // the holder of an APIToken
	Certificate Kind = "Certificate" // a machine with a client certificate
	GitSource   Kind = "GitSource"   // the manager itself, on behalf of a GitSource: has the rights of one role
	System      Kind = "System"      // the manager itself: may everything
)

// Principal is who makes a request. The zero Principal may nothing.
type Principal struct {
	Kind     Kind
	Name     string
	UID      string    // of the Adapter or APIToken: a re-created one is another
	Groups   []string  // of a User
	Role     string    // of a GitSource
	NotAfter time.Time // when the credential ends; zero: it does not
}

// String names the principal for logs, for the audit log and as owner of fields: "admin", "adapter/hall-1", "user/alice@example.org",
// "token/ci", "certificate/backup.example.org", "gitsource/fleet", "system/deletion", "none".
func (p Principal) String() string {
	switch p.Kind {
	case "":
		return "none"
	case Admin:
		return "admin"
	}
	return strings.ToLower(string(p.Kind)) + "/" + p.Name
}

// Everything says that no rule is needed: the principal may do whatever there is.
func (p Principal) Everything() bool { return p.Kind == Admin || p.Kind == System }

// ForSystem is a part of the manager that acts by itself, as in "deletion".
func ForSystem(part string) Principal { return Principal{Kind: System, Name: part} }

// ForGitSource is the manager on behalf of a GitSource with the rights of a role.
func ForGitSource(name, role string) Principal {
	return Principal{Kind: GitSource, Name: name, Role: role}
}

// Verb is what somebody wants to do.
type Verb string

// The verbs of rules.
const (
	Get    Verb = "get"
	List   Verb = "list"
	Watch  Verb = "watch"
	Create Verb = "create"
	Update Verb = "update"
	Patch  Verb = "patch"
	Delete Verb = "delete"
	Report Verb = "report" // write the status
)

// Verbs lists all verbs.
func Verbs() []Verb { return []Verb{Get, List, Watch, Create, Update, Patch, Delete, Report} }

// Kinds of rules that are no resources.
const (
	KindAudit        = "Audit"
	KindBackup       = "Backup"
	KindRestore      = "Restore"
	KindMetrics      = "Metrics"
	KindPlan         = "Plan"
	KindReachability = "Reachability"
)

// Target is one thing that somebody wants to do.
type Target struct {
	Verb    Verb
	Kind    string // of a resource, or one of the Kind constants
	Network string // empty: the resource belongs to no network
	Name    string // for the message only: rights do not depend on names
	// Somewhere says, for the message only, that the right would suffice in whichever network.
	Somewhere bool
}

// Decision is the answer about a Target.
type Decision struct {
	Allowed bool
	Reason  string // which role allows it, or what is missing
}
