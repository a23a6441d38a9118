package repository

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Reasons of a Fault: fit for the reason of a condition.
const (
	ReasonInvalidURL  = "InvalidURL"        // a scheme or form that is not allowed
	ReasonCredentials = "CredentialsFailed" // missing, unreadable, or refused by the server
	ReasonHostKey     = "HostKeyUnknown"    // ssh: not in known_hosts
	ReasonCertificate = "CertificateFailed" // https: not certified by who is trusted
	ReasonNotFound    = "NotFound"          // repository, branch, commit or path
	ReasonTooLarge    = "TooLarge"          // more than the bounds allow
	ReasonHostile     = "HostileRepository" // malformed, or names that mean another place
	ReasonUnreachable = "Unreachable"       // no answer, or one that makes no sense
)

const (
	lfsPointerBegins = "version https://git-lfs.github.com/spec/"
	redacted         = "<redacted>"
)

// Fault is why a repository could not be read.
type Fault struct {
	Reason string
	cause  error
}

// Error is fit for a status: one line without secrets.
func (f *Fault) Error() string { return f.cause.Error() }

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.cause }

// ReasonOf returns the reason of a Fault, and ReasonUnreachable for any other
// error.
func ReasonOf(err error) string {
	var f *Fault
	if errors.As(err, &f) {
		return f.Reason
	}
	return ReasonUnreachable
}

func faultf(reason, format string, args ...any) error {
	return &Fault{reason, fmt.Errorf(format, args...)}
}

// clean makes one bounded line of a text that a server wrote, without the
// secrets that it may have echoed.
func clean(text string, secrets ...string) string {
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, redacted)
		}
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > maxErrorText {
		text = string(runes[:maxErrorText]) + "…"
	}
	return text
}
