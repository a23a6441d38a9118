package ctl

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// progress is one line on standard error that says how far long work has come. It is shown on a terminal only, and only once the work has taken a while.
type progress struct {
	c     *command
	what  string
	began time.Time
	shown time.Time
	width int // of what stands there now
}

const (
	progressAfter = 500 * time.Millisecond
	progressEvery = 100 * time.Millisecond
)

func (c *command) newProgress(what string) *progress {
	return &progress{c: c, what: what, began: c.Now()}
}

// at shows that done of total are done; a total of 0 is not known.
func (p *progress) at(done, total int) {
	if total > 0 {
		p.say(fmt.Sprintf("%s %d/%d (%d %%)", p.what, done, total, done*100/total))
		return
	}
	p.say(fmt.Sprintf("%s %d", p.what, done))
}

// bytes shows how much was moved.
func (p *progress) bytes(done int64) {
	p.say(fmt.Sprintf("%s %.1f MiB", p.what, float64(done)/(1<<20)))
}

// say shows any text.
func (p *progress) say(text string) {
	now := p.c.Now()
	if now.Sub(p.began) < progressAfter || now.Sub(p.shown) < progressEvery {
		return
	}
	p.shown = now
	p.now(text)
}

// now shows any text at once.
func (p *progress) now(text string) {
	if !p.c.isTerminal(p.c.Stderr) {
		return
	}
	text = printable(text)
	width := utf8.RuneCountInString(text)
	fmt.Fprintf(behindScreen(p.c.Stderr), "\r%s%s", text, strings.Repeat(" ", max(0, p.width-width)))
	p.width = width
}

// done takes the line away; what comes next on standard error or output begins at its place.
func (p *progress) done() {
	if p.width > 0 {
		fmt.Fprintf(behindScreen(p.c.Stderr), "\r%s\r", strings.Repeat(" ", p.width))
		p.width = 0
	}
}
