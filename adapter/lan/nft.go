package lan

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// Guard keeps the kernel's rules equal to a state. Changes of many general nodes at once are joined: who
// waits for a running transaction finds its own change done by the next one.
type Guard struct {
	applying sync.Mutex // held during a transaction; orders applied
	applied  *GuardState

	mu   sync.Mutex
	want GuardState
}

// Sighting is an unlisted device that sent something within the last minutes.
type Sighting struct {
	MAC  MAC    `json:"mac"`
	Port string `json:"port"`
}

// NewGuard installs the rules for the first state in one transaction.
func NewGuard(ctx context.Context, s GuardState) (*Guard, error) {
	for _, name := range []string{s.Bridge, s.Tun} {
		if err := CheckInterfaceName(name); err != nil {
			return nil, err
		}
	}
	g := &Guard{want: s.clone()}
	return g, g.apply(ctx)
}

// Update changes the state and returns when the kernel has it.
func (g *Guard) Update(ctx context.Context, change func(*GuardState)) error {
	g.mu.Lock()
	change(&g.want)
	g.mu.Unlock()
	return g.apply(ctx)
}

// Close removes everything from the kernel.
func (g *Guard) Close(ctx context.Context) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	g.applied = nil
	var b strings.Builder
	for _, family := range []string{"bridge", "inet"} {
		fmt.Fprintf(&b, "add table %s %s\ndelete table %s %s\n", family, table, family, table)
	}
	return nft(ctx, b.String())
}

// apply brings the kernel to the wanted state. If elements cannot be changed (somebody flushed the
// rules), the whole rule set is installed again.
func (g *Guard) apply(ctx context.Context) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	g.mu.Lock()
	want := g.want.clone()
	g.mu.Unlock()
	if g.applied != nil {
		changes := Changes(*g.applied, want)
		if changes == "" {
			return nil
		}
		if nft(ctx, changes) == nil {
			g.applied = &want
			return nil
		}
	}
	if err := nft(ctx, Rules(want)); err != nil {
		return err
	}
	g.applied = &want
	return nil
}

// Check installs the rules again if they are gone from the kernel: another program flushed the rule set.
func (g *Guard) Check(ctx context.Context) error {
	if _, err := g.Counters(ctx); err == nil {
		return g.apply(ctx) // nothing to do unless an earlier change failed
	}
	g.applying.Lock()
	g.applied = nil
	g.applying.Unlock()
	return g.apply(ctx)
}

// Counters returns the packets dropped so far by reason.
func (g *Guard) Counters(ctx context.Context) (map[string]uint64, error) {
	out := make(map[string]uint64, len(dropReasons)+len(routeReasons))
	for _, family := range []string{"bridge", "inet"} {
		var list struct {
			Nftables []struct {
				Counter *struct {
					Name    string `json:"name"`
					Packets uint64 `json:"packets"`
				} `json:"counter"`
			} `json:"nftables"`
		}
		if err := query(ctx, &list, "list", "counters", "table", family, table); err != nil {
			return nil, err
		}
		for _, e := range list.Nftables {
			if e.Counter != nil {
				out[e.Counter.Name] = e.Counter.Packets
			}
		}
	}
	if len(out) != len(dropReasons)+len(routeReasons) {
		return nil, fmt.Errorf("lan: the guard's tables have %d counters, want %d", len(out), len(dropReasons)+len(routeReasons))
	}
	return out, nil
}

// Unlisted returns the unlisted devices seen lately, so that the operator can copy a MAC from here.
func (g *Guard) Unlisted(ctx context.Context) ([]Sighting, error) {
	var list struct {
		Nftables []struct {
			Set *struct {
				Elements []struct {
					Element struct {
						Value struct {
							Concat []string `json:"concat"`
						} `json:"val"`
					} `json:"elem"`
				} `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := query(ctx, &list, "list", "set", "bridge", table, "unlisted"); err != nil {
		return nil, err
	}
	var out []Sighting
	for _, o := range list.Nftables {
		if o.Set == nil {
			continue
		}
		for _, e := range o.Set.Elements {
			pair := e.Element.Value.Concat
			if len(pair) != 2 {
				continue
			}
			if mac, err := ParseMAC(pair[1]); err == nil {
				out = append(out, Sighting{MAC: mac, Port: pair[0]})
			}
		}
	}
	slices.SortFunc(out, func(a, b Sighting) int { return strings.Compare(a.MAC.String(), b.MAC.String()) })
	return out, nil
}

// nft applies one transaction: all of it or nothing.
func nft(ctx context.Context, transaction string) error {
	ctx, cancel := context.WithTimeout(ctx, nftTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.WaitDelay = time.Second
	cmd.Stdin = strings.NewReader(transaction)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("lan: apply the source guard with nft (package nftables, kernel with nf_tables bridge family): %w: %s",
			err, strings.TrimSpace(string(out)))
	}
	return nil
}

// query reads nft's JSON.
func query(ctx context.Context, v any, arguments ...string) error {
	ctx, cancel := context.WithTimeout(ctx, nftTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nft", append([]string{"-j"}, arguments...)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("lan: nft %s: %w", strings.Join(arguments, " "), err)
	}
	if err := json.Unmarshal(out, v); err != nil {
		return fmt.Errorf("lan: nft %s: %w", strings.Join(arguments, " "), err)
	}
	return nil
}
