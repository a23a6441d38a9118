package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/adapter/lan"
)

// lease is what is remembered of a device's lease across a restart. It is no right to anything: the device is
// authenticated and logged in anew.
type lease struct {
	MAC   lan.MAC    `json:"mac"`
	Port  string     `json:"port"`
	IPv4  netip.Addr `json:"ipv4,omitzero"`
	Until time.Time  `json:"until"`
}

// leases are the devices' leases by general node, kept on disk.
type leases struct {
	path string
	log  *slog.Logger
	wake chan struct{} // a lease goes on or has ended
	news chan struct{} // a device has a lease that is not on disk

	mu     sync.Mutex
	byName map[string]lease
}

// loadLeases reads the file; a missing or broken one is an empty one, since devices ask again anyway.
func loadLeases(path string, log *slog.Logger) *leases {
	l := &leases{path: path, log: log, wake: make(chan struct{}, 1), news: make(chan struct{}, 1), byName: make(map[string]lease)}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &l.byName)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("leases of the last run are lost", "error", err)
	}
	if l.byName == nil {
		l.byName = make(map[string]lease)
	}
	return l
}

// get returns an unexpired lease of the same device.
func (l *leases) get(name string, mac lan.MAC, now time.Time) (lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, ok := l.byName[name]
	return found, ok && found.MAC == mac && now.Before(found.Until)
}

func (l *leases) set(name string, value lease) {
	l.mu.Lock()
	old := l.byName[name]
	l.byName[name] = value
	l.mu.Unlock()
	if old.MAC == value.MAC && old.Port == value.Port && old.IPv4 == value.IPv4 && time.Now().Before(old.Until) {
		signal(l.wake)
	} else {
		signal(l.news)
	}
}

func (l *leases) remove(name string) {
	l.mu.Lock()
	delete(l.byName, name)
	l.mu.Unlock()
	signal(l.wake)
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run writes new leases to disk at once: whoever has one does not ask again for minutes, whatever happens to the adapter.
// Other changes are joined over saveDelay, and the last ones are written when ctx ends.
func (l *leases) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			l.save()
			return nil
		case <-l.news:
		case <-l.wake:
			select {
			case <-ctx.Done():
			case <-l.news:
			case <-time.After(saveDelay):
			}
		}
		l.save()
	}
}

func (l *leases) save() {
	l.mu.Lock()
	b, err := json.Marshal(l.byName)
	l.mu.Unlock()
	if err == nil {
		err = writeFile(l.path, b)
	}
	if err != nil {
		l.log.Warn("leases were not saved", "error", err)
	}
}

// writeFile replaces a file in one step, readable by its owner only.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
