package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/internal/cloudconfig"
	"github.com/cyphonic/cyphonic/internal/program"
)

const (
	// drainReport is how often the progress of a drain is told.
	drainReport = time.Second
	// defaultDrainTimeout is how long the verb drain waits.
	defaultDrainTimeout = 2 * time.Minute
	// drainedText ends a drain that has come to its end.
	drainedText = "drained"
)

// handleDrain begins to leave, once, and answers when everything has left; with ?progress it tells the progress
// meanwhile. GET does it too, because the hooks of orchestrators know nothing else.
func (c *cloud) handleDrain(w http.ResponseWriter, r *http.Request) {
	if why := foreign(r); why != "" {
		http.Error(w, why, http.StatusForbidden)
		return
	}
	c.log.Info("drain requested", "by", r.RemoteAddr)
	c.drain()
	progress := r.URL.Query().Has("progress")
	control := http.NewResponseController(w)
	ticker := time.NewTicker(drainReport)
	defer ticker.Stop()
	for {
		if progress {
			_, _ = fmt.Fprintln(w, c.progress())
			_ = control.Flush()
		}
		select {
		case <-c.left:
			_, _ = fmt.Fprintln(w, drainedText)
			return
		case <-r.Context().Done(): // whoever asked does not wait; the drain goes on
			return
		case <-ticker.C:
		}
	}
}

// foreign says why a request is not one of this host's operator: a page in a browser must not be able to make it.
func foreign(r *http.Request) string {
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return "a drain cannot be asked for by a page in a browser"
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "ask by a loopback address or localhost"
	}
	return ""
}

// progress is where each service is.
func (c *cloud) progress() string {
	var parts []string
	if c.manager != nil {
		parts = append(parts, fmt.Sprintf("%s: %s", cloudconfig.ServiceManager, *c.managerState.Load()))
	}
	for _, l := range c.lives {
		parts = append(parts, fmt.Sprintf("%s: %s, %d sessions", l.cycle.Name, l.cycle.State(), l.cycle.Residual()))
	}
	return strings.Join(parts, "; ")
}

// drainCommand is for hooks and for people on the host.
func drainCommand(f *flags, stdout io.Writer) *cobra.Command {
	timeout := defaultDrainTimeout
	command := &cobra.Command{
		Use: "drain", Short: "Make the cyphonicd of this host leave, and wait until it has", Args: cobra.NoArgs,
		Long: `Make the cyphonicd of this host leave, and wait until it has.

It asks the process that listens at metrics.listen of the configuration, tells its progress, and ends when nothing is
under way any more. The process exits then.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := cloudconfig.Load(f.config)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if err := askToDrain(ctx, cfg.Metrics.Listen, stdout); err != nil {
				return program.Fail(err)
			}
			return nil
		},
	}
	command.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait; the drain itself goes on")
	return command
}

func askToDrain(ctx context.Context, address string, stdout io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/drain?progress", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("%w: does cyphonicd run on this host, with this metrics.listen?", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("cyphonicd refuses to drain: %s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	last := ""
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		last = lines.Text()
		if _, err := fmt.Fprintln(stdout, last); err != nil {
			return err
		}
	}
	switch {
	case last == drainedText:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("not drained yet: %w", ctx.Err())
	}
	return errors.New("cyphonicd has ended before it had drained: see its log")
}
