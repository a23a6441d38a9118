package lab

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
)

// BlockRule describes packets that a router drops in silence.
type BlockRule struct {
	// Protocol is an nftables protocol name (udp, tcp, icmp, ipv6-icmp); empty is every protocol.
	Protocol string
	// From and To match source and destination; the zero prefix matches everything.
	From, To netip.Prefix
	// Port, if not zero, is the destination port (the source port in the opposite direction of BothWays).
	Port uint16
	// BothWays drops the opposite direction too.
	BothWays bool
}

// Blocking is a rule in force.
type Blocking struct {
	host   *Host
	table  string
	undone atomic.Bool
}

// Block drops matching packets that the host forwards, sends or receives, from now on until Undo.
func (h *Host) Block(ctx context.Context, rules ...BlockRule) (*Blocking, error) {
	b := &Blocking{host: h, table: fmt.Sprintf("lab_block_%d_%d", os.Getpid(), h.lab.counter.Add(1))}
	if _, err := h.RunInput(ctx, strings.NewReader(blockRuleset(b.table, rules)), "nft", "-f", "-"); err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	return b, nil
}

// blockRuleset renders rules as a table for nft -f.
func blockRuleset(table string, rules []BlockRule) string {
	var text strings.Builder
	fmt.Fprintf(&text, "table inet %s {\n", table)
	for _, hook := range []string{"input", "forward", "output"} {
		fmt.Fprintf(&text, "  chain %s { type filter hook %s priority -300; policy accept;\n", hook, hook)
		for _, rule := range rules {
			fmt.Fprintf(&text, "    %s\n", rule.expression(false))
			if rule.BothWays {
				fmt.Fprintf(&text, "    %s\n", rule.expression(true))
			}
		}
		text.WriteString("  }\n")
	}
	text.WriteString("}\n")
	return text.String()
}

// Undo lets the packets through again. It is idempotent.
func (b *Blocking) Undo(ctx context.Context) error {
	if b.undone.Swap(true) {
		return nil
	}
	if _, err := b.host.Run(ctx, "nft", "delete", "table", "inet", b.table); err != nil {
		b.undone.Store(false)
		return fmt.Errorf("unblock: %w", err)
	}
	return nil
}

// runTable is the table of Run.Block.
const runTable = "lab_block"

// Block drops matching packets in a host of a lab that another process built, in place of what an earlier call blocked.
func (r Run) Block(ctx context.Context, host string, rules ...BlockRule) error {
	text := fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\n%[2]s", runTable, blockRuleset(runTable, rules))
	return r.nft(ctx, host, text)
}

// Unblock lets packets through again that Block dropped; it is idempotent.
func (r Run) Unblock(ctx context.Context, host string) error {
	return r.nft(ctx, host, fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\n", runTable))
}

func (r Run) nft(ctx context.Context, host, text string) error {
	command := exec.CommandContext(ctx, "ip", "netns", "exec", r.Namespace(host), "nft", "-f", "-")
	command.Stdin = strings.NewReader(text)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft in %s: %w: %s", host, err, bytes.TrimSpace(out))
	}
	return nil
}

func (r BlockRule) expression(reverse bool) string {
	from, to, port := r.From, r.To, "dport"
	if reverse {
		from, to, port = r.To, r.From, "sport"
	}
	var parts []string
	if from.IsValid() {
		parts = append(parts, family(from)+" saddr "+from.String())
	}
	if to.IsValid() {
		parts = append(parts, family(to)+" daddr "+to.String())
	}
	if r.Protocol != "" {
		parts = append(parts, "meta l4proto "+r.Protocol)
	}
	if r.Port != 0 {
		parts = append(parts, fmt.Sprintf("th %s %d", port, r.Port))
	}
	return strings.Join(append(parts, "drop"), " ")
}

func family(prefix netip.Prefix) string {
	if prefix.Addr().Is4() {
		return "ip"
	}
	return "ip6"
}
