package ctl

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// screen is a terminal on which something is shown that others wrote: messages of managers and providers, names, whatever a template selects. Control sequences in it
// could rename the window, hide lines or type for the user; what passes are line breaks, tabs and the styles of paint.
type screen struct{ out io.Writer }

// onScreen is the stream with the guard in front of it if it is a terminal. Files and pipes get every byte.
func (c *command) onScreen(w io.Writer) io.Writer {
	if c.isTerminal(w) {
		return &screen{w}
	}
	return w
}

// behindScreen is the stream itself, for a program that is started and for the line of progress.
func behindScreen(w io.Writer) io.Writer {
	if s, ok := w.(*screen); ok {
		return s.out
	}
	return w
}

func (s *screen) Write(text []byte) (int, error) {
	if _, err := io.WriteString(s.out, withoutControl(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// withoutControl replaces what a terminal would obey (ECMA-48) by blanks.
func withoutControl(text string) string {
	var out strings.Builder
	for len(text) > 0 {
		if sequence := styleAt(text); sequence != "" {
			out.WriteString(sequence)
			text = text[len(sequence):]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		if r == '\n' || r == '\t' {
			out.WriteRune(r)
		} else {
			out.WriteString(printable(string(r)))
		}
		text = text[size:]
	}
	return out.String()
}

// styleAt is the sequence of paint that the text begins with, if it does.
func styleAt(text string) string {
	rest, ok := strings.CutPrefix(text, "\x1b[")
	if !ok {
		return ""
	}
	number, _, ok := strings.Cut(rest, "m")
	if !ok || !slices.Contains([]style{"0", styleHeading, styleFaint, styleGood, styleMiddling, styleBad, styleSubject}, style(number)) {
		return ""
	}
	return "\x1b[" + number + "m"
}
