package keyspace

import (
	"net/netip"
	"strings"
	"time"
)

// ReplicasRoot is the prefix of what live replicas say of themselves. It is outside Root, because their load is
// written often.
//
//	/cyphonic/replicas/v1/live/<service>/<name>   a live replica (ReplicaRecord); goes with its lease
//	/cyphonic/replicas/v1/drain/<service>/<name>  a replica is asked to drain (DrainRecord); goes by itself
//	/cyphonic/replicas/v1/speakers/<host>         what the speaker of a host announces (SpeakerRecord); goes with its lease
const ReplicasRoot = "/cyphonic/replicas/v1/"

// Prefixes below ReplicasRoot.
const (
	LivePrefix     = ReplicasRoot + "live/"
	DrainPrefix    = ReplicasRoot + "drain/"
	SpeakersPrefix = ReplicasRoot + "speakers/"
)

// Live is the key of a live replica.
func Live(service, name string) string { return LivePrefix + service + "/" + name }

// ParseLive splits the key of a live replica.
func ParseLive(key string) (service, name string, ok bool) { return splitTwo(key, LivePrefix) }

// Drain is the key with which a replica is asked to drain.
func Drain(service, name string) string { return DrainPrefix + service + "/" + name }

// ParseDrain splits the key with which a replica is asked to drain.
func ParseDrain(key string) (service, name string, ok bool) { return splitTwo(key, DrainPrefix) }

// Speaker is the key of the report of a host's speaker.
func Speaker(host string) string { return SpeakersPrefix + host }

// ParseSpeaker takes the host out of such a key.
func ParseSpeaker(key string) (host string, ok bool) {
	host, ok = strings.CutPrefix(key, SpeakersPrefix)
	return host, ok && host != "" && !strings.Contains(host, "/")
}

// ReplicaState is where a replica is in its life.
type ReplicaState string

// The states of a replica, in their order.
const (
	ReplicaStarting  ReplicaState = "Starting"  // cannot serve yet
	ReplicaReady     ReplicaState = "Ready"     // serves
	ReplicaLeaving   ReplicaState = "Leaving"   // serves what still comes, gets nothing new from the balancer, gives away what it owns
	ReplicaFinishing ReplicaState = "Finishing" // takes nothing new, ends what is under way
)

// ReplicaRecord is what a live replica says of itself, stored at Live.
type ReplicaRecord struct {
	Name    string       `json:"name"`
	Service string       `json:"service"` // as, nms, trs, manager
	Host    string       `json:"host"`
	Version string       `json:"version"` // of the program
	State   ReplicaState `json:"state"`
	Since   time.Time    `json:"since"`   // of the state
	Started time.Time    `json:"started"` // of the process

	// Addresses at which other replicas and the speaker of the host reach it: at most one IPv4 and one IPv6.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Peer is where replicas of the same service reach it (TLS over TCP); Pin is the hex SHA-256 of the certificate
	// that it shows there.
	Peer netip.AddrPort `json:"peer,omitzero"`
	Pin  string         `json:"pin,omitempty"`
	// Advertised is where devices reach this very replica (trs): at most one IPv4 and one IPv6.
	Advertised []netip.AddrPort `json:"advertised,omitempty"`

	Load Load `json:"load"`
}

// Load is what a replica has to do.
type Load struct {
	CPU      float64 `json:"cpu"`      // cores in use, over the last interval
	Memory   int64   `json:"memory"`   // resident bytes
	Requests float64 `json:"requests"` // per second
	Sessions int     `json:"sessions"` // that end with it: connections, directions under way, relayed tunnels
}

// DrainRecord asks a replica to drain, stored at Drain.
type DrainRecord struct {
	Requested time.Time `json:"requested"`
	By        string    `json:"by"` // who asked, for people
}

// SpeakerRecord is what the speaker of a host does, stored at Speaker.
type SpeakerRecord struct {
	Host     string           `json:"host"`
	Version  string           `json:"version"`
	Started  time.Time        `json:"started"`
	Sessions []BGPSession     `json:"sessions,omitempty"` // by peer
	Prefixes []SpokenPrefix   `json:"prefixes,omitempty"` // by prefix
	Backends []SpeakerBackend `json:"backends,omitempty"` // registered replicas
	// Addresses of the host on the links of its routers: at most one IPv4 and one IPv6. Other speakers show packets there
	// that belong to connections they do not know.
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// BGPSession is a session of a speaker with a neighbour.
type BGPSession struct {
	Peer       string     `json:"peer"`    // name of the BGPPeer
	Address    netip.Addr `json:"address"` // of the neighbour
	State      string     `json:"state"`   // Idle, Connect, Active, OpenSent, OpenConfirm, Established (RFC 4271)
	Since      time.Time  `json:"since"`
	Advertised int        `json:"advertised"`       // prefixes
	Received   int        `json:"received"`         // prefixes, all refused
	BFD        string     `json:"bfd,omitempty"`    // AdminDown, Down, Init, Up (RFC 5880); empty: not used
	Reason     string     `json:"reason,omitempty"` // why it is not Established, or was lost last
}

// SpokenPrefix is a service VIP on a host.
type SpokenPrefix struct {
	Prefix    netip.Prefix `json:"prefix"`
	Services  []string     `json:"services"` // names of CloudServices
	Announced bool         `json:"announced"`
	Reason    string       `json:"reason,omitempty"` // why it is not announced
}

// SpeakerBackend is a local replica to which a speaker spreads.
type SpeakerBackend struct {
	Service string       `json:"service"`
	Name    string       `json:"name"`
	State   ReplicaState `json:"state"`
}
