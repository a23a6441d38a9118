package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Capture records the packets of one interface with tcpdump.
type Capture struct {
	Path    string
	process *Process
}

// CaptureOptions of Host.Capture.
type CaptureOptions struct {
	// Filter is a pcap filter expression; empty takes every packet.
	Filter string
	// SnapLength is the number of bytes kept of each packet; zero keeps all.
	SnapLength int

	ring bool
}

// Capture starts recording; it returns when tcpdump listens, so that no later packet is missed.
func (h *Host) Capture(ctx context.Context, iface string, options CaptureOptions) (*Capture, error) {
	if options.SnapLength == 0 {
		options.SnapLength = fullSnapLength
	}
	name := fmt.Sprintf("tcpdump-%s-%d", iface, h.lab.counter.Add(1))
	path := filepath.Join(h.lab.run.Directory, "captures", h.Name+"-"+name+".pcap")
	args := []string{
		"tcpdump", "-n", "-U", "-Z", "root", "-B", "16384", "-i", iface,
		"-s", strconv.Itoa(options.SnapLength), "-w", path,
	}
	if options.ring {
		// Cheap rather than prompt: the kernel hands packets over by the block, once a second or when one is full.
		args = append(args, "-C", strconv.Itoa(ringFileMegabytes), "-W", strconv.Itoa(ringFiles))
	} else {
		args = append(args, "--immediate-mode") // else Stop would lose the block that is being filled
	}
	if options.Filter != "" {
		args = append(args, options.Filter)
	}
	process, err := h.Start(Command{Name: name, Args: args, KeepRunning: h.lab.options.Persistent})
	if err != nil {
		return nil, err
	}
	c := &Capture{Path: path, process: process}
	ctx, cancel := context.WithTimeout(ctx, captureStart)
	defer cancel()
	if err := process.waitLog(ctx, "listening on"); err != nil {
		process.Kill()
		return nil, fmt.Errorf("capture on %s/%s: %w", h.Name, iface, err)
	}
	return c, nil
}

// waitLog waits until the output contains a text.
func (p *Process) waitLog(ctx context.Context, text string) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if strings.Contains(p.Log(), text) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s in %s never printed %q: %w: %s", p.Name, p.Host, text, ctx.Err(), p.LogTail(5))
		case <-p.done:
			return fmt.Errorf("%s in %s ended: %w: %s", p.Name, p.Host, p.err, p.LogTail(5))
		case <-ticker.C:
		}
	}
}

// Stop ends the recording once everything received so far has been written.
func (c *Capture) Stop() error {
	for size := int64(-1); ; time.Sleep(captureQuiet) {
		info, err := os.Stat(c.Path)
		if err != nil {
			return fmt.Errorf("stop the capture: %w", err)
		}
		if info.Size() == size {
			break
		}
		size = info.Size()
	}
	if err := c.process.Signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("stop the capture: %w: %s", err, c.process.LogTail(3))
	}
	select {
	case <-c.process.Done():
		return nil
	case <-time.After(terminateGrace):
		c.process.Kill()
		return errors.New("stop the capture: tcpdump ignored SIGINT")
	}
}

// Packets reads the recorded frames, link-layer header included, and calls visit for each; visit must not keep them.
func (c *Capture) Packets(visit func(frame []byte)) error {
	return readPackets(c.Path, visit)
}

// Contains counts the frames that hold the pattern, and all frames.
func (c *Capture) Contains(pattern []byte) (matching, all int, err error) {
	err = c.Packets(func(frame []byte) {
		all++
		if bytes.Contains(frame, pattern) {
			matching++
		}
	})
	return matching, all, err
}

// readPackets reads a capture file in the classic pcap format, as tcpdump writes it on a little-endian machine.
func readPackets(path string, visit func(frame []byte)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var header [24]byte
	if _, err := io.ReadFull(file, header[:]); err != nil {
		return fmt.Errorf("%s: no capture header: %w", path, err)
	}
	if magic := binary.LittleEndian.Uint32(header[:]); magic != 0xa1b2c3d4 {
		return fmt.Errorf("%s: magic %#x is not a little-endian microsecond capture", path, magic)
	}
	frame := make([]byte, fullSnapLength)
	for {
		var record [16]byte
		if _, err := io.ReadFull(file, record[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: cut packet header: %w", path, err)
		}
		length := binary.LittleEndian.Uint32(record[8:])
		if int(length) > len(frame) {
			return fmt.Errorf("%s: packet of %d bytes", path, length)
		}
		if _, err := io.ReadFull(file, frame[:length]); err != nil {
			return fmt.Errorf("%s: cut packet: %w", path, err)
		}
		visit(frame[:length])
	}
}

// startRings keeps the latest packets of every WAN link, as evidence for a failing test.
func (l *Lab) startRings(ctx context.Context) error {
	for _, link := range l.topology.Links {
		if !link.WAN || link.A.Down {
			continue
		}
		options := CaptureOptions{SnapLength: ringSnapLength, ring: true}
		ring, err := l.hosts[link.A.Host].Capture(ctx, link.A.Interface, options)
		if err != nil {
			return err
		}
		l.rings = append(l.rings, ring)
	}
	return nil
}
