package bfd

import "strconv"

// State of a session (RFC 5880, section 4.1).
type State uint8

// The states.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

// String names a state as in keyspace.BGPSession.
func (s State) String() string {
	return [...]string{"AdminDown", "Down", "Init", "Up"}[s&3]
}

// Diagnostic says why a session changed its state last (RFC 5880, section 4.1).
type Diagnostic uint8

// The diagnostics.
const (
	NoDiagnostic Diagnostic = iota
	DetectionTimeExpired
	EchoFailed
	NeighborDown
	ForwardingPlaneReset
	PathDown
	ConcatenatedPathDown
	AdministrativelyDown
	ReverseConcatenatedPathDown
)

// String says a diagnostic in the words of the RFC.
func (d Diagnostic) String() string {
	words := [...]string{
		"no diagnostic", "control detection time expired", "echo function failed", "neighbor signaled session down",
		"forwarding plane reset", "path down", "concatenated path down", "administratively down", "reverse concatenated path down",
	}
	if int(d) < len(words) {
		return words[d]
	}
	return "diagnostic " + strconv.Itoa(int(d))
}
