package hostdns

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	marker = "# cyphonic-node answers here; the lines behind \"#was:\" are the original, restored on exit."
	wasTag = "#was:"
	// openTag says that the original's last line had no newline.
	openTag = "#was without newline at the end"
	// readEvery bounds how often the upstreams are read from the file.
	readEvery = time.Second
)

// resolvConf edits one resolv.conf in place: the file may be a bind mount or a link, which must stay what it
// is. The original is kept inside, line by line as comments, so that it can be restored whatever else is lost.
type resolvConf struct {
	path     string
	resolver netip.AddrPort

	mu       sync.Mutex
	read     time.Time
	original string // as of read
}

// apply makes the resolver the host's only name server. If another program has rewritten the file, its
// version becomes the original.
func (f *resolvConf) apply() error {
	b, err := os.ReadFile(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	original := originalOf(string(b))
	text := render(original, f.resolver.Addr())
	if string(b) == text {
		return nil
	}
	return writeInPlace(f.path, text)
}

// restore brings the original back; a file that was never changed stays untouched.
func (f *resolvConf) restore() error {
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	original := originalOf(string(b))
	if original == string(b) {
		return nil
	}
	return writeInPlace(f.path, original)
}

// upstreams returns the original name servers without the resolver itself.
func (f *resolvConf) upstreams() []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.read) > readEvery {
		b, err := os.ReadFile(f.path)
		if err == nil {
			f.original, f.read = originalOf(string(b)), now
		}
	}
	var out []netip.AddrPort
	for _, a := range nameservers(f.original) {
		if a != f.resolver.Addr() {
			out = append(out, netip.AddrPortFrom(a, 53))
		}
	}
	return out
}

// render writes our version: the original's other lines stay in effect, its name servers do not.
func render(original string, resolver netip.Addr) string {
	var b strings.Builder
	b.WriteString(marker + "\n")
	if original != "" {
		for line := range strings.SplitSeq(strings.TrimSuffix(original, "\n"), "\n") {
			b.WriteString(wasTag + line + "\n")
		}
		if !strings.HasSuffix(original, "\n") {
			b.WriteString(openTag + "\n")
		}
	}
	fmt.Fprintf(&b, "nameserver %s\n", resolver)
	for line := range strings.SplitSeq(original, "\n") {
		fields := strings.Fields(line)
		if len(fields) > 1 && (fields[0] == "search" || fields[0] == "domain" || fields[0] == "options") {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// originalOf returns the original out of our version, and every other text as it is.
func originalOf(text string) string {
	if !strings.HasPrefix(text, marker+"\n") {
		return text
	}
	var b strings.Builder
	for line := range strings.SplitSeq(text, "\n") {
		if line == openTag {
			return strings.TrimSuffix(b.String(), "\n")
		}
		if was, ok := strings.CutPrefix(line, wasTag); ok {
			b.WriteString(was + "\n")
		}
	}
	return b.String()
}

// nameservers reads the addresses of resolv.conf(5); unusable ones are left out.
func nameservers(text string) []netip.Addr {
	var out []netip.Addr
	for line := range strings.SplitSeq(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// writeInPlace writes over the old text and only then cuts the rest off, so that a reader never finds an
// empty file.
func writeInPlace(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
