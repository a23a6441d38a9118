package ctl

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cyphonic/cyphonic/internal/identity"
)

const (
	minPassword = 12   // characters
	maxPassword = 1024 // bytes
	maxSecret   = 8192 // bytes of a file with a token
)

func (c *command) hashPasswordCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hash-password",
		Short: "Make the hash of a password for a manifest",
		Long: `Read a password from standard input, up to the end of the first line, and print its argon2id hash, which goes to spec.authentication.passwordHash.
At a terminal the password is asked for twice and not shown.`,
		Example: "  cyphonicctl hash-password < password-file",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			password, err := c.readPassword()
			if err != nil {
				return err
			}
			hash, err := identity.HashPassword(c.Rand, password)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.Stdout, hash)
			return err
		},
	}
}

func (c *command) readPassword() (string, error) {
	if file, ok := c.Stdin.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return c.askPassword(int(file.Fd()))
	}
	text, err := io.ReadAll(io.LimitReader(c.Stdin, maxPassword+2))
	if err != nil {
		return "", err
	}
	password, _, _ := strings.Cut(string(text), "\n")
	return checkedPassword(strings.TrimSuffix(password, "\r"))
}

func (c *command) askPassword(terminal int) (string, error) {
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(c.Stderr, prompt)
		line, err := term.ReadPassword(terminal)
		fmt.Fprintln(c.Stderr)
		if err != nil {
			return "", err
		}
		typed[i] = string(line)
	}
	if typed[0] != typed[1] {
		return "", &usageError{errors.New("the two passwords differ")}
	}
	return checkedPassword(typed[0])
}

func checkedPassword(password string) (string, error) {
	if n := len([]rune(password)); n < minPassword || len(password) > maxPassword {
		return "", &usageError{fmt.Errorf("the password has %d characters, must have at least %d and at most %d bytes", n, minPassword, maxPassword)}
	}
	return password, nil
}

// readSecret reads a secret of one line from a file, or from standard input for "-"; no path is no secret.
func (c *command) readSecret(path string) (string, error) {
	var (
		text []byte
		err  error
	)
	switch path {
	case "":
		return "", nil
	case "-":
		text, err = io.ReadAll(io.LimitReader(c.Stdin, maxSecret+1))
	default:
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return "", &usageError{err}
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" || len(text) > maxSecret || strings.ContainsAny(secret, "\r\n") {
		return "", &usageError{fmt.Errorf("%s is not one line with a secret", path)}
	}
	return secret, nil
}
