package keyspace

import "strings"

// LogRoot is the prefix of what is written often and read seldom: records of
// what happened, and what goes by itself. It is outside Root, which replicas
// watch.
const LogRoot = "/cyphonic/log/v1/"

// Schema is the key of the version of the layout of the keys below Root
// (SchemaRecord). If it is absent while there are other keys the version is 1.
const Schema = "/cyphonic/schema"

// SchemaRecord says which layout the keys have, stored at Schema.
type SchemaRecord struct {
	Version int `json:"version"`
}

// Prefixes below LogRoot.
const (
	AuditPrefix       = LogRoot + "audit/"
	EventsPrefix      = LogRoot + "events/"
	IdempotencyPrefix = LogRoot + "idempotency/"
	LeadersPrefix     = LogRoot + "leaders/"
	ManagersPrefix    = LogRoot + "managers/"
)

// EventsAbout covers the events about one resource.
func EventsAbout(plural, name string) string { return EventsPrefix + plural + "/" + name + "/" }

// Restoring is there while a backup is being restored, and after a restoration
// that was cut off.
const Restoring = LogRoot + "restoring"

// Event is the key of one event about a resource.
func Event(plural, name, id string) string { return EventsAbout(plural, name) + id }

// ParseEvent splits the key of an event.
func ParseEvent(key string) (plural, name, id string, ok bool) {
	rest, found := strings.CutPrefix(key, EventsPrefix)
	parts := strings.Split(rest, "/")
	if !found || len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

// Idempotency is the key of the first answer to a request that may be
// repeated; hash is the hex digest of who sent it and of its Idempotency-Key.
func Idempotency(hash string) string { return IdempotencyPrefix + hash }

// Leader is the key that the leader for a name holds (LeaderRecord).
func Leader(name string) string { return LeadersPrefix + name }

// LeaderRecord says who leads, stored at Leader.
type LeaderRecord struct {
	Holder string `json:"holder"`
}

// Manager is the key with which a replica of the manager says that it is there.
func Manager(id string) string { return ManagersPrefix + id }
