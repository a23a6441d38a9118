// Package backup writes everything that an installation needs to be set up
// again into one encrypted stream, and fills a database from one.
//
// A backup is encrypted by age (filippo.io/age) to recipients whose secret keys
// the manager does not have; what is restored has been decrypted by the
// operator. It holds the desired state, all keys of it, and the audit log. It
// leaves out what goes by itself or belongs to running managers: events,
// answers kept for repetition, leaders, replicas.
//
// The package must not know resources, but for the form of their keys.
//
// The decrypted stream, numbers big endian:
//
//	"cyphonic backup 1\n"
//	4 length of the header
//	… header, JSON (Header)
//	chunks:
//	  1 'C'
//	  4 length of the records
//	  4 length of the records, compressed
//	  32 digest: SHA-256 of the digest before, and of the rest of the chunk
//	  … records, compressed by zstd (RFC 8878)
//	end:
//	  1 'E'
//	  8 number of records in all
//	  32 digest: SHA-256 of the digest before, and of 'E' and the number
//
// The digest before the first chunk is that of everything before it, so that
// none can be left out, repeated or moved. A record is a key and a value, each
// preceded by its length (varint). The state of the audit log comes first; the
// other keys ascend in the order of bytes.
package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// ErrFormat says that the stream is no backup, or a damaged one.
var ErrFormat = errors.New("not an undamaged backup")

const magic = "cyphonic backup 1\n"

// Header tells where a backup comes from.
type Header struct {
	Created  time.Time `json:"created"`
	Schema   int       `json:"schema"`   // version of the layout of the keys
	Revision int64     `json:"revision"` // of the database, at which all keys were read
}

// record is a key with its value.
type record struct {
	key   string
	value []byte
}

type digest = [sha256.Size]byte

func chain(before digest, parts ...[]byte) digest {
	h := sha256.New()
	h.Write(before[:])
	for _, p := range parts {
		h.Write(p)
	}
	return digest(h.Sum(nil))
}

// encoder writes a stream.
type encoder struct {
	w       io.Writer
	zstd    *zstd.Encoder
	digest  digest
	raw     []byte // records of the chunk that is being filled
	records uint64
}

// newEncoder writes the header.
func newEncoder(w io.Writer, h Header) (*encoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode the header: %w", err)
	}
	begin := append(binary.BigEndian.AppendUint32([]byte(magic), uint32(len(text))), text...)
	if _, err := w.Write(begin); err != nil {
		return nil, err
	}
	return &encoder{w: w, zstd: z, digest: sha256.Sum256(begin)}, nil
}

func (e *encoder) add(r record) error {
	e.raw = binary.AppendUvarint(e.raw, uint64(len(r.key)))
	e.raw = append(e.raw, r.key...)
	e.raw = binary.AppendUvarint(e.raw, uint64(len(r.value)))
	e.raw = append(e.raw, r.value...)
	e.records++
	if len(e.raw) < chunkBytes {
		return nil
	}
	return e.flush()
}

func (e *encoder) flush() error {
	if len(e.raw) == 0 {
		return nil
	}
	packed := e.zstd.EncodeAll(e.raw, nil)
	head := binary.BigEndian.AppendUint32([]byte{'C'}, uint32(len(e.raw)))
	head = binary.BigEndian.AppendUint32(head, uint32(len(packed)))
	e.digest = chain(e.digest, head, packed)
	e.raw = e.raw[:0]
	if _, err := e.w.Write(append(head, e.digest[:]...)); err != nil {
		return err
	}
	_, err := e.w.Write(packed)
	return err
}

// finish writes the end.
func (e *encoder) finish() error {
	if err := e.flush(); err != nil {
		return err
	}
	end := binary.BigEndian.AppendUint64([]byte{'E'}, e.records)
	e.digest = chain(e.digest, end)
	_, err := e.w.Write(append(end, e.digest[:]...))
	return err
}

// Encode writes a stream, which is not encrypted, of records whose keys ascend:
// what Restore fills a database from that there is no backup of.
func Encode(w io.Writer, h Header, records iter.Seq2[string, []byte]) error {
	e, err := newEncoder(w, h)
	if err != nil {
		return err
	}
	for key, value := range records {
		if err := e.add(record{key, value}); err != nil {
			return err
		}
	}
	return e.finish()
}

// chunk is a verified part of a stream, still compressed.
type chunk struct {
	packed []byte
	length int // of the records
}

// decoder reads a stream.
type decoder struct {
	r       io.Reader
	zstd    *zstd.Decoder
	header  Header
	digest  digest
	last    string // key of the last record
	records uint64
}

// newDecoder reads the header.
func newDecoder(r io.Reader) (*decoder, error) {
	begin := make([]byte, len(magic)+4)
	if _, err := io.ReadFull(r, begin); err != nil {
		return nil, damaged("read its beginning", err)
	}
	if string(begin[:len(magic)]) != magic {
		if bytes.HasPrefix(begin, []byte("age-encryption.org/")) {
			return nil, fmt.Errorf("%w: it is still encrypted: decrypt it with age first", ErrFormat)
		}
		return nil, fmt.Errorf("%w: it does not begin like one of version 1", ErrFormat)
	}
	n := binary.BigEndian.Uint32(begin[len(magic):])
	if n > maxHeader {
		return nil, fmt.Errorf("%w: its header has %d bytes", ErrFormat, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, damaged("read its header", err)
	}
	d := &decoder{r: r, digest: sha256.Sum256(append(begin, text...))}
	if err := json.Unmarshal(text, &d.header); err != nil {
		return nil, fmt.Errorf("%w: its header: %w", ErrFormat, err)
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxChunk))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	d.zstd = z
	return d, nil
}

func damaged(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %s: it ends too early", ErrFormat, what)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// next reads and verifies the next chunk; the error is io.EOF after the end,
// which is verified too. visit is called for each record, whose value is valid
// during the call only.
func (d *decoder) next(visit func(record) error) (chunk, error) {
	var kind [1]byte
	if _, err := io.ReadFull(d.r, kind[:]); err != nil {
		return chunk{}, damaged("read on", err)
	}
	switch kind[0] {
	case 'C':
		return d.chunk(visit)
	case 'E':
		return chunk{}, d.end()
	}
	return chunk{}, fmt.Errorf("%w: a part of the unknown kind %q", ErrFormat, kind)
}

func (d *decoder) chunk(visit func(record) error) (chunk, error) {
	head := append([]byte{'C'}, make([]byte, 8+sha256.Size)...)
	if _, err := io.ReadFull(d.r, head[1:]); err != nil {
		return chunk{}, damaged("read a chunk", err)
	}
	length, packedLength := binary.BigEndian.Uint32(head[1:]), binary.BigEndian.Uint32(head[5:])
	if length > maxChunk || packedLength > maxChunk {
		return chunk{}, fmt.Errorf("%w: a chunk of %d bytes", ErrFormat, max(length, packedLength))
	}
	c := chunk{packed: make([]byte, packedLength), length: int(length)}
	if _, err := io.ReadFull(d.r, c.packed); err != nil {
		return chunk{}, damaged("read a chunk", err)
	}
	if d.digest = chain(d.digest, head[:9], c.packed); d.digest != digest(head[9:]) {
		return chunk{}, fmt.Errorf("%w: a chunk does not have the digest that it should", ErrFormat)
	}
	raw, err := d.unpack(c)
	if err != nil {
		return chunk{}, err
	}
	return c, d.walk(raw, visit)
}

// unpack decompresses a chunk.
func (d *decoder) unpack(c chunk) ([]byte, error) {
	raw, err := d.zstd.DecodeAll(c.packed, make([]byte, 0, c.length))
	if err != nil || len(raw) != c.length {
		return nil, fmt.Errorf("%w: a chunk cannot be decompressed", ErrFormat)
	}
	return raw, nil
}

// walk visits records, whose keys must ascend.
func (d *decoder) walk(raw []byte, visit func(record) error) error {
	return split(raw, func(r record) error {
		if !follows(r.key, d.last) {
			return fmt.Errorf("%w: key %q after %q", ErrFormat, r.key, d.last)
		}
		d.last = r.key
		d.records++
		return visit(r)
	})
}

// follows says whether a key may come after another one.
func follows(key, last string) bool {
	if key == keyspace.AuditState || last == keyspace.AuditState {
		return last == "" || key != keyspace.AuditState
	}
	return key > last
}

func (d *decoder) end() error {
	end := make([]byte, 8+sha256.Size)
	if _, err := io.ReadFull(d.r, end); err != nil {
		return damaged("read its end", err)
	}
	if chain(d.digest, []byte{'E'}, end[:8]) != digest(end[8:]) || binary.BigEndian.Uint64(end) != d.records {
		return fmt.Errorf("%w: its end does not fit", ErrFormat)
	}
	if n, err := d.r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: there is more after its end", ErrFormat)
	}
	return io.EOF
}

// split parts the records of a chunk.
func split(raw []byte, visit func(record) error) error {
	field := func() ([]byte, bool) {
		n, size := binary.Uvarint(raw)
		if size <= 0 || n > uint64(len(raw)-size) {
			return nil, false
		}
		text := raw[size : size+int(n)]
		raw = raw[size+int(n):]
		return text, true
	}
	for len(raw) > 0 {
		key, ok1 := field()
		value, ok2 := field()
		if !ok1 || !ok2 || len(key) == 0 {
			return fmt.Errorf("%w: a record is malformed", ErrFormat)
		}
		if err := visit(record{string(key), value}); err != nil {
			return err
		}
	}
	return nil
}
