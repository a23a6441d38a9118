package peering

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Versions are those of the messages that a program speaks.
type Versions struct{ Min, Max uint8 }

// agree is the highest version that both speak; false: there is none.
func (v Versions) agree(o Versions) (uint8, bool) {
	version := min(v.Max, o.Max)
	return version, version >= v.Min && version >= o.Min
}

// hello is the first thing that each side says, after TLS:
//
//	0  "CYPL"
//	4  lowest and highest version u8
//	6  length of what follows u16, at most 1016
//	8  name, program version: length u8 and text each
//	   what later versions add, ignored
type hello struct {
	versions Versions
	name     string
	program  string
}

const helloMagic = "CYPL"

var errHello = errors.New("peering: the other side does not say hello as a replica of the NMS does")

func (h hello) append(b []byte) []byte {
	b = append(append(b, helloMagic...), h.versions.Min, h.versions.Max, 0, 0)
	start := len(b)
	for _, text := range []string{h.name, h.program} {
		text = text[:min(len(text), 255)]
		b = append(append(b, byte(len(text))), text...)
	}
	binary.BigEndian.PutUint16(b[start-2:], uint16(len(b)-start))
	return b
}

// readHello reads exactly one hello.
func readHello(r io.Reader) (hello, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return hello{}, fmt.Errorf("read hello: %w", err)
	}
	n := int(binary.BigEndian.Uint16(head[6:]))
	if string(head[:4]) != helloMagic || n > maxHello-len(head) {
		return hello{}, errHello
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return hello{}, fmt.Errorf("read hello: %w", err)
	}
	h := hello{versions: Versions{head[4], head[5]}}
	for _, text := range []*string{&h.name, &h.program} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return hello{}, errHello
		}
		*text, b = string(b[1:1+int(b[0])]), b[1+int(b[0]):]
	}
	return h, nil
}
