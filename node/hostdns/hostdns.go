// Package hostdns tells the host to ask the agent's resolver: per domain where systemd-resolved or macOS can do
// that, else by the name server in resolv.conf. Whatever it changes it undoes on exit, and what a killed
// process left behind is undone at the next start. It must not answer questions.
package hostdns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Modes of integration.
const (
	ModeAuto       = "auto"       // what the host has
	ModeResolved   = "resolved"   // systemd-resolved, by resolvectl
	ModeResolvConf = "resolvconf" // name server in resolv.conf
	ModeNone       = "none"       // the operator does it
)

// check is how often the integration looks whether somebody else has changed it.
const check = 2 * time.Second

// Options say what to integrate.
type Options struct {
	Mode       string
	Resolver   netip.AddrPort // where the agent's resolver answers
	Interface  string         // the virtual interface
	Domains    []string       // the overlay's domain and reverse zones, without dots at the ends
	ResolvConf string         // path, normally /etc/resolv.conf
	Log        *slog.Logger
}

// Integration is the host's knowledge of the resolver. Recover first, then Run.
type Integration struct {
	options Options
	file    *resolvConf
	mode    string
}

// New chooses the mode. It changes nothing.
func New(o Options) (*Integration, error) {
	i := &Integration{options: o, file: &resolvConf{path: o.ResolvConf, resolver: o.Resolver}, mode: o.Mode}
	if i.mode == ModeAuto {
		i.mode = detect(o)
	}
	switch i.mode {
	case ModeResolvConf:
		if o.Resolver.Port() != 53 {
			return nil, fmt.Errorf("resolver.listen is %s: resolv.conf cannot name a port, it must be 53", o.Resolver)
		}
	case ModeResolved, ModeNone, modeDomainFile:
	default:
		return nil, fmt.Errorf("resolver.integration is %q, want auto, resolved, resolvconf or none", o.Mode)
	}
	return i, nil
}

// Recover undoes what a killed process left behind. It must run before the first name is looked up: the
// name server that is named there does not answer yet.
func Recover(path string, resolver netip.AddrPort) error {
	file := &resolvConf{path: path, resolver: resolver}
	return file.restore()
}

// Mode returns the mode in use.
func (i *Integration) Mode() string { return i.mode }

// Upstreams returns the name servers that the host had, never the agent's own.
func (i *Integration) Upstreams() []netip.AddrPort {
	if i.mode == ModeResolved {
		return (&resolvConf{path: resolvedUplink, resolver: i.options.Resolver}).upstreams()
	}
	return i.file.upstreams()
}

// Run integrates, keeps it so until ctx ends, and undoes it.
func (i *Integration) Run(ctx context.Context) error {
	if i.mode == ModeNone {
		<-ctx.Done()
		return nil
	}
	defer func() {
		if err := i.undo(); err != nil {
			i.options.Log.Error("the host's DNS settings were not restored", "error", err)
		}
	}()
	failing := ""
	ticker := time.NewTicker(check)
	defer ticker.Stop()
	for first := true; ; first = false {
		err := i.apply(ctx, first)
		if err != nil && ctx.Err() == nil && err.Error() != failing {
			failing = err.Error()
			i.options.Log.Error("the host does not ask the overlay's resolver", "mode", i.mode, "error", err)
		}
		if err == nil {
			failing = ""
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (i *Integration) apply(ctx context.Context, first bool) error {
	switch i.mode {
	case ModeResolvConf:
		return i.file.apply()
	case ModeResolved:
		return i.applyResolved(ctx, first)
	default:
		return i.applyDomainFiles()
	}
}

func (i *Integration) undo() error {
	switch i.mode {
	case ModeResolvConf:
		return i.file.restore()
	case ModeResolved:
		return i.undoResolved()
	default:
		return i.undoDomainFiles()
	}
}

// detect takes systemd-resolved only where it runs and resolv.conf leads to it: a network namespace sees
// the service of its host, which does not serve it.
func detect(o Options) string {
	if hasDomainFiles {
		return modeDomainFile
	}
	b, err := os.ReadFile(o.ResolvConf)
	if err != nil {
		return ModeResolvConf
	}
	for _, s := range nameservers(string(b)) {
		if s == resolvedStub && resolvedRuns() {
			return ModeResolved
		}
	}
	return ModeResolvConf
}

// modeDomainFile is macOS's way: one file per domain in /etc/resolver.
const modeDomainFile = "resolverfile"

const domainFileMark = "# written by cyphonic-node"

func (i *Integration) applyDomainFiles() error {
	if err := os.MkdirAll(domainDirectory, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("%s\nnameserver %s\nport %d\n", domainFileMark, i.options.Resolver.Addr(), i.options.Resolver.Port())
	for _, d := range i.options.Domains {
		path := domainDirectory + "/" + d
		old, err := os.ReadFile(path)
		if err == nil && string(old) == text {
			continue
		}
		if err == nil && !strings.HasPrefix(string(old), domainFileMark) {
			return fmt.Errorf("%s belongs to somebody else; remove it", path)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (i *Integration) undoDomainFiles() error {
	var errs []error
	for _, d := range i.options.Domains {
		path := domainDirectory + "/" + d
		b, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(b), domainFileMark) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
