package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/overlay"
	"github.com/cyphonic/cyphonic/internal/lab/probe"
)

// Run shows the whole story and removes everything at its end, also when it fails or is interrupted.
func Run(ctx context.Context, options Options) (err error) {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	fmt.Fprint(options.Out, "CYPHONIC: devices behind two address translators talk by name.\n", picture, "\n")
	s, err := prepare(ctx, options, lab.Options{Name: fmt.Sprintf("cydemo-%d", time.Now().UnixNano()%1e6), RealWire: true, NoEvidence: true})
	if err != nil {
		return err
	}
	defer func() {
		s.keepEvidence(err)
		closeErr := s.story.step("everything removed", func() (string, error) { return "", s.Lab.Close() })
		err = errors.Join(err, closeErr)
	}()
	figures := make(map[string]measured)
	return inOrder(
		func() error { return s.talk(ctx, figures) },
		func() error { return s.summary(ctx, figures) },
		func() error { return s.changePath(ctx) },
	)
}

// keepEvidence keeps the logs of a demo that failed, with all goroutines, where make clean finds them.
func (s *site) keepEvidence(err error) {
	if err == nil {
		return
	}
	s.Lab.DumpGoroutines(overlay.GoPrograms()...)
	if directory, absErr := filepath.Abs("build/evidence/demo"); absErr == nil && s.Lab.KeepEvidence(directory) == nil {
		fmt.Fprintln(s.options.Out, "the logs are in", directory)
	}
}

// measured is what the demo found out about one device.
type measured struct {
	rtt            time.Duration
	bytesPerSecond float64
}

func (s *site) fqdn(name string) string { return name + "." + s.domain }

// talk shows names, ping, page and file in both directions.
func (s *site) talk(ctx context.Context, figures map[string]measured) error {
	s.story.section("viewer talks to cam1, cam2 talks to viewer")
	viewer, cam1, cam2 := s.Lab.Host("viewer"), s.fqdn("cam1"), s.Lab.Host("cam2")
	return inOrder(
		func() error { return s.resolve(ctx, viewer, cam1) },
		func() error { return s.firstPing(ctx, viewer, cam1) },
		func() error { return s.ping(ctx, viewer, cam1, "cam1", figures) },
		func() error { return s.page(ctx, viewer, cam1, "cam1") },
		func() error { return s.file(ctx, viewer, cam1, fileSize, "cam1", figures) },
		func() error { return s.resolve(ctx, cam2, s.fqdn("viewer")) },
		func() error { return s.ping(ctx, cam2, s.fqdn("viewer"), "cam2", figures) },
		func() error { return s.page(ctx, cam2, s.fqdn("viewer"), "viewer") },
		func() error { return s.file(ctx, cam2, s.fqdn("viewer"), smallFileSize, "cam2", figures) },
	)
}

// resolve looks a name up as every program does, through the host's /etc/resolv.conf.
func (s *site) resolve(ctx context.Context, host *lab.Host, name string) error {
	return s.story.step(fmt.Sprintf("%s$ getent ahosts %s", host.Name, name), func() (string, error) {
		out, err := host.Run(ctx, "getent", "ahosts", name)
		if err != nil {
			return "", err
		}
		var found []string
		for line := range strings.Lines(out) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[1] == "STREAM" {
				found = append(found, fields[0])
			}
		}
		return strings.Join(found, ", "), nil
	})
}

// firstPing is one packet to a name whose tunnel may not exist yet.
func (s *site) firstPing(ctx context.Context, host *lab.Host, name string) error {
	return s.story.step(fmt.Sprintf("%s$ ping -c 1 %s", host.Name, name), func() (string, error) {
		_, err := host.Run(ctx, "ping", "-c", "1", "-W", "10", name)
		return fmt.Sprintf("the first answer, %s after the demo began", seconds(time.Since(s.story.started))), err
	})
}

var pingAverage = regexp.MustCompile(`= [\d.]+/([\d.]+)/`)

func (s *site) ping(ctx context.Context, host *lab.Host, name, device string, figures map[string]measured) error {
	return s.story.step(fmt.Sprintf("%s$ ping %s", host.Name, name), func() (string, error) {
		out, err := host.Run(ctx, "ping", "-c", "5", "-i", "0.2", "-W", "2", name)
		if err != nil {
			return strings.TrimSpace(out), err
		}
		found := pingAverage.FindStringSubmatch(out)
		if found == nil {
			return "", fmt.Errorf("unexpected output of ping: %s", out)
		}
		average, _ := strconv.ParseFloat(found[1], 64)
		m := figures[device]
		m.rtt = time.Duration(average * float64(time.Millisecond))
		figures[device] = m
		return "RTT " + milliseconds(m.rtt), nil
	})
}

func (s *site) page(ctx context.Context, host *lab.Host, name, device string) error {
	return s.story.step(fmt.Sprintf("%s$ curl http://%s/", host.Name, name), func() (string, error) {
		out, err := host.Run(ctx, "curl", "-sS", "--fail", "--max-time", "10", "http://"+name+"/")
		if err == nil && !strings.Contains(out, "This is "+device) {
			err = fmt.Errorf("another page came: %s", out)
		}
		_, out, _ = strings.Cut(out, "<h1>")
		out = strings.NewReplacer("</h1><p>", "; ", "</p>", "").Replace(out)
		return strings.TrimSpace(out), err
	})
}

func (s *site) file(ctx context.Context, host *lab.Host, name string, size int64, device string, figures map[string]measured) error {
	text := fmt.Sprintf("%s$ curl 'http://%s/file?bytes=%d' | sha256sum", host.Name, name, size)
	return s.story.step(text, func() (string, error) {
		speed, err := fetch(ctx, host, name, size)
		m := figures[device]
		m.bytesPerSecond = speed
		figures[device] = m
		return fmt.Sprintf("%d MiB, checksum right, %s", size>>20, megabits(8*speed)), err
	})
}

// fetch gets a file, compares its checksum with one computed without the network and returns the speed in bytes/s.
func fetch(ctx context.Context, host *lab.Host, name string, size int64) (bytesPerSecond float64, err error) {
	script := `curl -sS --fail --max-time 100 -w '%{stderr}%{speed_download}' "$0" 2>"$1" | sha256sum; cat "$1"; rm -f "$1"`
	out, err := host.Run(ctx, "sh", "-c", script, fmt.Sprintf("http://%s/file?bytes=%d", name, size), "curl-"+host.Name+".txt")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(out)
	if len(fields) < 3 || fields[0] != probe.ContentSum(size) {
		return 0, fmt.Errorf("the file arrived damaged: %s", out)
	}
	return strconv.ParseFloat(fields[2], 64)
}

// summary prints one line per device.
func (s *site) summary(ctx context.Context, figures map[string]measured) error {
	s.story.section("summary")
	statuses := make(map[string]overlay.Status)
	for _, agent := range []*overlay.Agent{s.viewer, s.adapter} {
		status, err := agent.Status(ctx)
		if err != nil {
			return err
		}
		statuses[agent.Name] = status
	}
	rows := [][]string{{"device", "identity", "authenticated by", "virtual IPv4", "virtual IPv6", "path to", "", "RTT", "TCP", "the NMS saw"}}
	for _, device := range []struct{ name, agent, peer, measured string }{
		{"cam1", adapterName, "viewer", "cam1"}, {"cam2", adapterName, "viewer", "cam2"}, {"viewer", "viewer", "cam1", "cam1"},
	} {
		status := statuses[device.agent]
		local, err := status.Local(s.fqdn(device.name))
		if err != nil {
			return err
		}
		peer, err := status.Peer(s.fqdn(device.name), s.fqdn(device.peer))
		if err != nil {
			return err
		}
		m := figures[device.measured]
		rows = append(rows, []string{
			device.name, local.NodeID[:min(8, len(local.NodeID))], local.Assurance, address(local.VirtualIPv4), address(local.VirtualIPv6),
			device.peer, peer.Path, milliseconds(m.rtt), megabits(8 * m.bytesPerSecond), local.Observed.String(),
		})
	}
	s.story.table(rows)
	return nil
}

func address(addr netip.Addr) string {
	if !addr.IsValid() {
		return "–"
	}
	return addr.String()
}

// changePath keeps one TCP connection open while the direct path is blocked and comes back.
func (s *site) changePath(ctx context.Context) error {
	s.story.section("one TCP connection from viewer to cam1 stays open while the direct path goes and comes back")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	camera, err := s.cameras[0].Address(ctx)
	if err != nil {
		return err
	}
	conn, err := s.Lab.Host("viewer").Dial(ctx, "tcp", netip.AddrPortFrom(camera, 80).String())
	if err != nil {
		return fmt.Errorf("open the connection: %w", err)
	}
	if err := probe.OpenEcho(conn); err != nil {
		return err
	}
	var seen atomic.Pointer[probe.StreamReport]
	seen.Store(&probe.StreamReport{})
	ended := make(chan error, 1)
	go func() {
		_, err := probe.Stream(ctx, conn, streamInterval, func(r probe.StreamReport) { seen.Store(&r) })
		ended <- err
	}()
	err = s.blockAndUnblock(ctx, &seen, ended)
	cancel()
	if streamErr := <-ended; err == nil {
		err = streamErr
	}
	return err
}

func (s *site) blockAndUnblock(ctx context.Context, seen *atomic.Pointer[probe.StreamReport], ended chan error) error {
	var blocking *lab.Blocking
	return inOrder(
		func() error { return s.watch("directly", seen, ended) },
		func() error {
			return s.story.step("UDP between NAPT A and NAPT B blocked", func() (_ string, err error) {
				blocking, err = s.Lab.Host(overlay.Internet).Block(ctx, overlay.BetweenSites())
				return "", err
			})
		},
		func() error { return s.awaitPath(ctx, "relayed") },
		func() error { return s.watch("through the TRS", seen, ended) },
		func() error {
			return s.story.step("another file through the TRS", func() (string, error) {
				speed, err := fetch(ctx, s.Lab.Host("viewer"), s.fqdn("cam1"), relayedFileSize)
				return fmt.Sprintf("%d MiB, checksum right, %s", relayedFileSize>>20, megabits(8*speed)), err
			})
		},
		func() error {
			return s.story.step("UDP between NAPT A and NAPT B allowed again", func() (string, error) { return "", blocking.Undo(ctx) })
		},
		func() error { return s.awaitPath(ctx, "punched", "direct") },
		func() error { return s.watch("directly again", seen, ended) },
	)
}

// awaitPath waits until the viewer's tunnel to cam1 has one of the paths.
func (s *site) awaitPath(ctx context.Context, paths ...string) error {
	return s.story.step("the tunnel is "+paths[0], func() (string, error) {
		var detail string
		err := await(ctx, pathTimeout, func() error {
			status, err := s.viewer.Status(ctx)
			if err != nil {
				return err
			}
			peer, err := status.Peer(s.fqdn("viewer"), s.fqdn("cam1"))
			if err != nil {
				return err
			}
			for _, path := range paths {
				if peer.Path == path {
					detail = "by " + peer.Address.String()
					return nil
				}
			}
			return fmt.Errorf("the path is still %s", peer.Path)
		})
		return detail, err
	})
}

// watch shows that the open connection makes progress now, and how long it had to wait for that.
func (s *site) watch(where string, seen *atomic.Pointer[probe.StreamReport], ended chan error) error {
	return s.story.step("the same connection goes on, "+where, func() (string, error) {
		before := seen.Load().Records
		select {
		case err := <-ended:
			ended <- err
			return "", fmt.Errorf("the connection broke: %w", err)
		case <-time.After(showTime):
		}
		now := seen.Load()
		detail := fmt.Sprintf("records %d to %d came back, RTT %s, longest pause so far %s", before, now.Records,
			milliseconds(now.RTT), now.LongestGap.Round(time.Millisecond))
		if now.Records == before {
			return detail, errors.New("no record came back")
		}
		return detail, nil
	})
}
