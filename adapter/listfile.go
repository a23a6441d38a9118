package adapter

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
)

// The file of the general-node list:
//
//	"CYPHLIST" 8 | version 1 | confirmed 8, Unix seconds | nonce 24 | XChaCha20-Poly1305( JSON of cachedList )
//
// The key is derived from the adapter's device key. Authenticated besides are all fields in front of the nonce, the name of the adapter and its NodeID, so that
// the file is good for this adapter with this key only. What it does not show is that it is the latest one: an older file that this adapter wrote is believed,
// with its time.
const (
	listMagic   = "CYPHLIST"
	listVersion = 1
	listHeader  = len(listMagic) + 1 + 8
	listPurpose = "adapter: general-node list on disk"

	listName      = "generalnodes.list"
	plainListName = "generalnodes.json" // of earlier versions
	migratedName  = "generalnodes.migrated"
)

// Errors of listFile.read. Nothing of such a file is used.
var (
	errListFormat  = errors.New("it is not in the format of this version")
	errListForeign = errors.New("it was changed, or written by another adapter or with another device key")
)

// cachedList is the file's content.
type cachedList struct {
	Items []api.GeneralNode `json:"items"`
}

// savedList is a list with the time at which the manager last confirmed it.
type savedList struct {
	items     []api.GeneralNode
	confirmed time.Time
	migrated  bool // it comes from the plain file of an earlier version
}

// listFile keeps the general-node list in the state directory, encrypted and protected against change.
type listFile struct {
	directory string
	adapter   string
	id        identity.NodeID
	aead      cipher.AEAD
}

func newListFile(directory, adapter string, key *identity.DeviceKey) (*listFile, error) {
	secret, err := key.Derive(listPurpose)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(secret[:])
	clear(secret[:])
	if err != nil {
		return nil, fmt.Errorf("general-node list: %w", err)
	}
	return &listFile{directory: directory, adapter: adapter, id: key.NodeID(), aead: aead}, nil
}

func (f *listFile) path(name string) string { return filepath.Join(f.directory, name) }

// read returns the list of the last run. fs.ErrNotExist says that there is none; after any other error the adapter has to wait for the manager.
func (f *listFile) read() (savedList, error) {
	b, err := readBounded(f.path(listName))
	if errors.Is(err, fs.ErrNotExist) {
		return f.migrate()
	}
	if err != nil {
		return savedList{}, err
	}
	return f.open(b)
}

func (f *listFile) open(b []byte) (savedList, error) {
	if len(b) < listHeader+f.aead.NonceSize() || string(b[:len(listMagic)]) != listMagic {
		return savedList{}, errListFormat
	}
	if version := b[len(listMagic)]; version != listVersion {
		return savedList{}, fmt.Errorf("%w: its version is %d, not %d", errListFormat, version, listVersion)
	}
	header, rest := b[:listHeader], b[listHeader:]
	plain, err := f.aead.Open(nil, rest[:f.aead.NonceSize()], rest[f.aead.NonceSize():], f.additional(header))
	if err != nil {
		return savedList{}, errListForeign
	}
	var cached cachedList
	if err := json.Unmarshal(plain, &cached); err != nil {
		return savedList{}, fmt.Errorf("%w: %w", errListFormat, err)
	}
	seconds := binary.BigEndian.Uint64(header[len(listMagic)+1:])
	return savedList{items: cached.Items, confirmed: time.Unix(int64(seconds), 0)}, nil
}

// write replaces the file in one step.
func (f *listFile) write(items []api.GeneralNode, confirmed time.Time) error {
	plain, err := json.Marshal(cachedList{Items: items})
	if err != nil {
		return err
	}
	b := append(make([]byte, 0, listHeader+len(plain)+64), listMagic...)
	b = append(b, listVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(confirmed.Unix()))
	nonce := make([]byte, f.aead.NonceSize())
	if _, err := io.ReadFull(rand.Reader, nonce); err != nil {
		return fmt.Errorf("general-node list: %w", err)
	}
	additional := f.additional(b)
	b = f.aead.Seal(append(b, nonce...), nonce, plain, additional)
	if err := writeFile(f.path(listName), b); err != nil {
		return err
	}
	return f.dropPlain()
}

func (f *listFile) additional(header []byte) []byte {
	b := append([]byte{}, header...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.adapter)))
	return append(append(b, f.adapter...), f.id[:]...)
}

// migrate reads the plain file of an earlier version, once in the life of a state directory.
func (f *listFile) migrate() (savedList, error) {
	if _, err := os.Stat(f.path(migratedName)); err == nil {
		return savedList{}, fmt.Errorf("%s: %w", listName, fs.ErrNotExist)
	}
	info, err := os.Stat(f.path(plainListName))
	if err != nil {
		return savedList{}, err
	}
	b, err := readBounded(f.path(plainListName))
	if err != nil {
		return savedList{}, err
	}
	var cached cachedList
	if err := json.Unmarshal(b, &cached); err != nil {
		return savedList{}, fmt.Errorf("%w: %w", errListFormat, err)
	}
	if err := f.write(cached.Items, info.ModTime()); err != nil {
		return savedList{}, err
	}
	return savedList{items: cached.Items, confirmed: info.ModTime(), migrated: true}, nil
}

// dropPlain removes the plain file and remembers that none is to be believed any more.
func (f *listFile) dropPlain() error {
	if _, err := os.Stat(f.path(migratedName)); errors.Is(err, fs.ErrNotExist) {
		if err := writeFile(f.path(migratedName), []byte("The general-node list is in "+listName+"; "+plainListName+" is not read any more.\n")); err != nil {
			return err
		}
	}
	if err := os.Remove(f.path(plainListName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxListFile+1))
	if err == nil && len(b) > maxListFile {
		err = fmt.Errorf("%w: it is over %d bytes", errListFormat, maxListFile)
	}
	return b, err
}
