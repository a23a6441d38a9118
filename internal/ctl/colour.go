package ctl

import (
	"io"
	"slices"
)

// style is the SGR parameter of a way to show text on a terminal (ECMA-48, 8.3.117).
type style string

const (
	stylePlain    style = ""
	styleHeading  style = "1"
	styleFaint    style = "2"
	styleGood     style = "32"
	styleMiddling style = "33"
	styleBad      style = "31"
	styleSubject  style = "36"
)

// paint shows text in a style if the stream has colours.
func (c *command) paint(w io.Writer, s style, text string) string {
	if s == stylePlain || text == "" || !c.coloured(w) {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// coloured tells whether a stream has colours: where --color does not say, on terminals, unless NO_COLOR is set (https://no-color.org) or TERM is dumb.
func (c *command) coloured(w io.Writer) bool {
	switch c.color {
	case "always":
		return true
	case "never":
		return false
	}
	return c.isTerminal(w) && c.Getenv("NO_COLOR") == "" && c.Getenv("TERM") != "dumb"
}

func (c *command) isTerminal(stream any) bool {
	if s, ok := stream.(*screen); ok {
		stream = s.out
	}
	return c.Terminal != nil && c.Terminal(stream)
}

// styleOfState is the style of a phase, a verdict, the type of an event, or the outcome of an audit record.
func styleOfState(state string) style {
	switch {
	case slices.Contains([]string{"Up", "Active", "Ready", "True", "allowed", "created", "ADDED", "Used", "Established", "Announced"}, state):
		return styleGood
	case slices.Contains([]string{"Pending", "Draining", "configured", "MODIFIED", "Unknown", "Expiring", "Starting", "Leaving", "Finishing", "Connect", "OpenSent", "OpenConfirm"}, state):
		return styleMiddling
	case slices.Contains([]string{"Down", "Failed", "Expired", "False", "Warning", "denied", "failed", "refused", "deleted", "pruned", "DELETED", "Idle", "NotEstablished", "NotAnnounced", "NoSpeaker", "NoPeer", "NoService"}, state):
		return styleBad
	case slices.Contains([]string{"Disabled", "unchanged", "Suspended"}, state):
		return styleFaint
	}
	return stylePlain
}
