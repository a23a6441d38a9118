package repository

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/memory"
)

// unpack checks how much a pack unpacks to before it does so: a few bytes can
// stand for many, by compression and again by deltas.
func unpack(pack []byte, limits bounds) (*memory.Storage, error) {
	if err := measure(pack, limits); err != nil {
		return nil, err
	}
	objects := memory.NewStorage()
	if err := packfile.UpdateObjectStorage(objects, bytes.NewReader(pack)); err != nil {
		return nil, faultf(ReasonHostile, "the pack cannot be unpacked: %s", clean(err.Error()))
	}
	return objects, nil
}

// measure adds up the sizes that the objects declare. The scanner refuses an
// object that is longer than it declares.
func measure(pack []byte, limits bounds) error {
	scanner := packfile.NewScanner(bytes.NewReader(pack))
	_, count, err := scanner.Header()
	if err != nil {
		return faultf(ReasonUnreachable, "the server sends no pack: %s", clean(err.Error()))
	}
	if int64(count) > int64(limits.objects) {
		return faultf(ReasonTooLarge, "the commit has %d files and folders, at most %d are possible: keep the manifests in a repository of their own", count, limits.objects)
	}
	var total int64
	for range count {
		header, err := scanner.NextObjectHeader()
		if err != nil {
			return faultf(ReasonHostile, "the pack is malformed: %s", clean(err.Error()))
		}
		if total += header.Length; header.Length < 0 || header.Length > limits.inflated || total > limits.inflated {
			return tooLarge(limits)
		}
		begin := &beginning{}
		if _, _, err := scanner.NextObject(begin); err != nil {
			return faultf(ReasonHostile, "the pack is malformed: %s", clean(err.Error()))
		}
		if !header.Type.IsDelta() {
			continue
		}
		size, err := begin.target()
		if err != nil {
			return faultf(ReasonHostile, "the pack is malformed: %s", clean(err.Error()))
		}
		if total += size; size < 0 || size > limits.inflated || total > limits.inflated {
			return tooLarge(limits)
		}
	}
	return nil
}

func tooLarge(limits bounds) error {
	return faultf(ReasonTooLarge, "the commit unpacks to more than %d MiB: keep the manifests in a repository of their own", limits.inflated>>20)
}

// beginning keeps the first bytes of an object: in a delta the sizes of what
// it starts from and of what it makes, each a little-endian base-128 number.
type beginning struct {
	bytes [2 * binary.MaxVarintLen64]byte
	n     int
}

func (b *beginning) Write(p []byte) (int, error) {
	b.n += copy(b.bytes[b.n:], p)
	return len(p), nil
}

func (b *beginning) target() (int64, error) {
	r := bytes.NewReader(b.bytes[:b.n])
	if _, err := binary.ReadUvarint(r); err != nil {
		return 0, errDelta(err)
	}
	size, err := binary.ReadUvarint(r)
	return int64(size), errDelta(err)
}

func errDelta(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errors.New("a delta has no size"), err)
}
