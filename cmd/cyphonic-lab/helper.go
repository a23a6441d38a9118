package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/lab/load"
	"github.com/cyphonic/cyphonic/internal/lab/probe"
)

// helper groups the ordinary programs that run inside hosts; they are hidden because they are of no use outside a lab.
func helper() *cobra.Command {
	command := &cobra.Command{Use: "helper", Short: "Programs that run inside hosts", Hidden: true}
	command.AddCommand(webCommand(), echoCommand(), streamCommand(), dnsCommand(), attackCommand(), loadCommand())
	return command
}

func webCommand() *cobra.Command {
	var listen, name string
	command := &cobra.Command{
		Use: "web", Short: "Serve a page and files of any size", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			listener, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			return probe.ServeWeb(command.Context(), listener, name)
		},
	}
	command.Flags().StringVar(&listen, "listen", ":80", "address and port")
	command.Flags().StringVar(&name, "name", "a device", "what the page calls the device")
	return command
}

func echoCommand() *cobra.Command {
	var listen string
	command := &cobra.Command{
		Use: "echo", Short: "Send back what arrives by TCP and UDP", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			listener, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			packets, err := net.ListenPacket("udp", listen)
			if err != nil {
				return err
			}
			group, ctx := errgroup.WithContext(command.Context())
			group.Go(func() error { return probe.ServeEcho(ctx, listener) })
			group.Go(func() error { return probe.ServeEchoUDP(ctx, packets.(*net.UDPConn)) })
			return group.Wait()
		},
	}
	command.Flags().StringVar(&listen, "listen", ":7", "address and port")
	return command
}

func streamCommand() *cobra.Command {
	var interval time.Duration
	command := &cobra.Command{
		Use: "stream HOST:PORT", Short: "Keep one TCP connection to a web helper busy and report; fail on a reset", Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			conn, err := net.Dial("tcp", args[0])
			if err != nil {
				return err
			}
			if err := probe.OpenEcho(conn); err != nil {
				return err
			}
			printed := time.Now()
			report, err := probe.Stream(command.Context(), conn, interval, func(r probe.StreamReport) {
				if time.Since(printed) >= time.Second {
					printed = time.Now()
					printReport(command.OutOrStdout(), r)
				}
			})
			printReport(command.OutOrStdout(), report)
			return err
		},
	}
	command.Flags().DurationVar(&interval, "interval", 10*time.Millisecond, "time between records of 1 KiB")
	return command
}

func printReport(out io.Writer, r probe.StreamReport) {
	fmt.Fprintf(out, "%d records, RTT %v, longest gap %v\n", r.Records, r.RTT.Round(10*time.Microsecond), r.LongestGap.Round(time.Millisecond))
}

func dnsCommand() *cobra.Command {
	var listen string
	var names map[string]string
	command := &cobra.Command{
		Use: "dns", Short: "Answer DNS questions as the rest of the world would", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			parsed := make(map[string]netip.Addr, len(names))
			for name, text := range names {
				addr, err := netip.ParseAddr(text)
				if err != nil {
					return err
				}
				parsed[name] = addr
			}
			conn, err := net.ListenPacket("udp", listen)
			if err != nil {
				return err
			}
			return probe.ServeDNS(command.Context(), conn, parsed)
		},
	}
	command.Flags().StringVar(&listen, "listen", ":53", "address and port")
	command.Flags().StringToStringVar(&names, "name", nil, "fully qualified name with final dot = address")
	return command
}

func attackCommand() *cobra.Command {
	var iface, claim, victim string
	command := &cobra.Command{
		Use: "attack", Short: "Claim an address by ARP and by UDP datagrams from it, ten times a second", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			claimed, err := netip.ParseAddr(claim)
			if err != nil {
				return err
			}
			told, err := netip.ParseAddr(victim)
			if err != nil {
				return err
			}
			attacker, err := probe.NewAttacker(iface)
			if err != nil {
				return err
			}
			defer attacker.Close()
			fmt.Fprintln(os.Stderr, "attacking; end with Ctrl-C")
			for ticker := time.NewTicker(100 * time.Millisecond); ; {
				arp := probe.ARPReply(probe.Broadcast(), attacker.MAC(), claimed, told)
				udp := probe.UDPFrame(probe.Broadcast(), attacker.MAC(), netip.AddrPortFrom(claimed, 9), netip.AddrPortFrom(told, 9), []byte("attack"))
				for _, frame := range [][]byte{arp, udp} {
					if err := attacker.Send(frame); err != nil {
						return err
					}
				}
				select {
				case <-command.Context().Done():
					return nil
				case <-ticker.C:
				}
			}
		},
	}
	command.Flags().StringVar(&iface, "interface", "eth0", "interface to send from")
	command.Flags().StringVar(&claim, "claim", "", "address to claim")
	command.Flags().StringVar(&victim, "victim", "", "address to tell")
	return command
}

func loadCommand() *cobra.Command {
	var config, socket string
	command := &cobra.Command{
		Use: "load", Short: "Be thousands of devices that log in, register and ask for directions", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			text, err := os.ReadFile(config)
			if err != nil {
				return err
			}
			var c load.Config
			if err := json.Unmarshal(text, &c); err != nil {
				return fmt.Errorf("%s: %w", config, err)
			}
			return load.Serve(command.Context(), socket, c)
		},
	}
	command.Flags().StringVar(&config, "config", "", "file that says who the devices are (JSON)")
	command.Flags().StringVar(&socket, "socket", "", "unix socket on which to take orders")
	return command
}
