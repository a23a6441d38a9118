package netfilter

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// program is the absolute path of nft. It runs with the rights of this process, so PATH is asked last.
type program string

// findProgram looks for nft in the folders of the system, then in those of PATH.
func findProgram(folders ...string) (program, error) {
	for _, folder := range folders {
		if path, err := exec.LookPath(filepath.Join(folder, "nft")); err == nil {
			return program(path), nil
		}
	}
	path, err := exec.LookPath("nft")
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", fmt.Errorf("the program nft is needed, install the package nftables: %w", err)
	}
	return program(path), nil
}

// change runs one transaction: the kernel takes all of the commands or none.
func (p program) change(ctx context.Context, commands string) error {
	_, err := p.run(ctx, strings.NewReader(commands), "-f", "-")
	return err
}

func (p program) run(ctx context.Context, stdin *strings.Reader, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, string(p), args...)
	if stdin != nil {
		command.Stdin = stdin
	}
	var errs bytes.Buffer
	command.Stderr = &errs
	command.WaitDelay = time.Second
	out, err := command.Output()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, firstLines(errs.String()))
	}
	if len(out) > maxListing {
		return nil, fmt.Errorf("nft %s: %d bytes of output, at most %d are read", strings.Join(args, " "), len(out), maxListing)
	}
	return out, nil
}

// firstLines shortens what nft says: it repeats the commands, which can be long.
func firstLines(text string) string {
	lines := strings.SplitN(strings.TrimSpace(text), "\n", 4)
	for i, line := range lines {
		lines[i] = line[:min(len(line), 200)]
	}
	return strings.Join(lines[:min(len(lines), 3)], "; ")
}

// found is what the kernel has of a table: what a process before this one, or this one, has installed.
type found struct {
	content
	slots map[string]slots // by service
	seed  uint32           // zero: no service had several backends
}

// listing is the part of nft's JSON that is needed.
type listing struct {
	Nftables []struct {
		Chain *struct{ Name string }
		Rule  *struct {
			Chain string
			Expr  []json.RawMessage
		}
		Set, Map *struct {
			Name string
			Elem []any
		}
		Counter *struct {
			Name    string
			Packets uint64
		}
	}
}

// list reads the table of a family.
func (p program) list(ctx context.Context, f family, table string) (*found, error) {
	out, err := p.run(ctx, nil, "-j", "list", "table", f.name, table)
	if err != nil {
		return nil, err
	}
	return parse(out)
}

// tableHandle is the kernel's number of a table, another one for each table that was ever made; 0: there is none.
func tableHandle(f family, table string) (uint64, error) {
	const (
		get                  = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETTABLE
		tableHandleAttribute = 4 // NFTA_TABLE_HANDLE
	)
	request := nl.NewNetlinkRequest(get, 0)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: f.number, Version: nl.NFNETLINK_V0})
	request.AddData(nl.NewRtAttr(unix.NFTA_TABLE_NAME, nl.ZeroTerminated(table)))
	answers, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask the kernel for table %s %s: %w", f.name, table, err)
	}
	for _, answer := range answers {
		if len(answer) < nl.SizeofNfgenmsg {
			continue
		}
		attributes, err := nl.ParseRouteAttr(answer[nl.SizeofNfgenmsg:])
		if err != nil {
			return 0, fmt.Errorf("read the kernel's answer about table %s %s: %w", f.name, table, err)
		}
		for _, a := range attributes {
			if a.Attr.Type&nl.NLA_TYPE_MASK == tableHandleAttribute && len(a.Value) == 8 {
				return binary.BigEndian.Uint64(a.Value), nil
			}
		}
	}
	return 0, fmt.Errorf("the kernel's answer about table %s %s has no handle", f.name, table)
}

// parse reads a table out of nft's JSON. What is not as this program writes it is left out: it is written anew.
func parse(out []byte) (*found, error) {
	var l listing
	if err := json.Unmarshal(out, &l); err != nil {
		return nil, fmt.Errorf("read nft's list: %w", err)
	}
	f := &found{slots: map[string]slots{}}
	f.content = ruleset{}.content()
	for _, object := range l.Nftables {
		switch {
		case object.Chain != nil:
			f.chains[object.Chain.Name] = ""
		case object.Counter != nil:
			f.counters[object.Counter.Name] = true
		case object.Set != nil:
			f.sets[object.Set.Name] = elementTexts(object.Set.Elem)
		case object.Map != nil:
			f.sets[object.Map.Name] = elementTexts(object.Map.Elem)
		}
	}
	for _, object := range l.Nftables {
		if object.Rule != nil && len(object.Rule.Expr) == 1 {
			if service, ok := strings.CutPrefix(object.Rule.Chain, "spread/"); ok {
				f.readChoice(service, object.Rule.Expr[0])
			}
		}
	}
	return f, nil
}

// readChoice reads the rule that plan.choice has written.
func (f *found) readChoice(service string, expression json.RawMessage) {
	var rule struct {
		Goto struct{ Target string }
		Vmap struct {
			Key  struct{ Jhash struct{ Mod, Seed uint32 } }
			Data string
		}
	}
	if json.Unmarshal(expression, &rule) != nil {
		return
	}
	prefix := "to/" + service + "/"
	if owner, ok := strings.CutPrefix(rule.Goto.Target, prefix); ok {
		f.slots[service] = slots{owners: slices.Repeat([]string{owner}, slotCount)}
		return
	}
	name, ok := strings.CutPrefix(rule.Vmap.Data, "@slots/"+service+"/")
	version, err := strconv.Atoi(name)
	if !ok || err != nil || version < 0 || version >= slotVersions || rule.Vmap.Key.Jhash.Mod != slotCount {
		return
	}
	owners := make([]string, slotCount)
	for _, element := range f.sets[strings.TrimPrefix(rule.Vmap.Data, "@")] {
		key, target, _ := strings.Cut(element, " : goto "+prefix)
		if slot, err := strconv.Atoi(key); err == nil && slot >= 0 && slot < slotCount {
			owners[slot] = target
		}
	}
	f.slots[service], f.seed = slots{owners: owners, version: version}, rule.Vmap.Key.Jhash.Seed
}

// readCounters gives the packets of every counter of a table.
func (p program) readCounters(ctx context.Context, f family, table string) (map[string]uint64, error) {
	out, err := p.run(ctx, nil, "-j", "list", "counters", "table", f.name, table)
	if err != nil {
		return nil, err
	}
	var l listing
	if err := json.Unmarshal(out, &l); err != nil {
		return nil, errors.Join(errors.New("read nft's counters"), err)
	}
	counts := make(map[string]uint64)
	for _, object := range l.Nftables {
		if object.Counter != nil {
			counts[object.Counter.Name] = object.Counter.Packets
		}
	}
	return counts, nil
}
