package ctl

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

var errDeclined = errors.New("nothing was changed")

// confirm asks on the terminal, and returns an error unless the answer is yes. Where nobody can be asked --yes is needed.
func (c *command) confirm(question string, canAsk bool) error {
	if !canAsk || !c.isTerminal(c.Stdin) || !c.isTerminal(c.Stderr) {
		return &usageError{fmt.Errorf("%s Nobody can be asked here: give --yes if it shall be done", question)}
	}
	fmt.Fprintf(c.Stderr, "%s [y/N] ", question)
	line, err := bufio.NewReader(c.Stdin).ReadString('\n')
	if err != nil && line == "" {
		return errDeclined
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}

// count is a number with its noun.
func count(n int64, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}
