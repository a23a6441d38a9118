package speaker

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// cache keeps the last known resources in a file, so that a speaker that starts while etcd is away knows them.
// It holds no secrets: passwords are in files of their own.
type cache struct {
	path  string // empty: no cache
	log   *slog.Logger
	dirty bool
	said  bool // that it could not be written
}

type cacheFile struct {
	Version int               `json:"version"`
	Records map[string][]byte `json:"records"`
}

const cacheVersion = 1

// load fills r. A file that cannot be read is as good as none.
func (c *cache) load(r *resources) {
	if c.path == "" {
		return
	}
	raw, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var f cacheFile
	if err == nil {
		err = json.Unmarshal(raw, &f)
	}
	if err != nil || f.Version != cacheVersion {
		c.log.Warn("last known resources not read: waiting for etcd", "file", c.path, "error", err)
		return
	}
	for key, value := range f.Records {
		if err := r.put(key, value); err != nil {
			c.log.Warn("last known resource left out", "error", err)
		}
	}
	c.log.Info("starting with the last known resources", "file", c.path, "resources", len(r.raw))
}

// save writes r if it has changed.
func (c *cache) save(r *resources, last bool) {
	if c.path == "" || !c.dirty {
		return
	}
	c.dirty = false
	if err := c.write(r); err != nil && (!c.said || last) {
		c.said = true
		c.log.Warn("last known resources not kept: a start while etcd is away will know none", "error", err)
	}
}

func (c *cache) write(r *resources) error {
	raw, err := json.Marshal(cacheFile{cacheVersion, r.raw})
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(c.path), filepath.Base(c.path)+".*")
	if err != nil {
		return err
	}
	_, err = file.Write(raw)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), c.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
