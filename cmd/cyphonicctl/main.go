// Command cyphonicctl is the operator's and CI's command line: it makes the keys of an installation, checks and applies manifests, and shows resources.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/cyphonic/cyphonic/internal/ctl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(ctl.Run(ctx, os.Args[1:], ctl.OperatingSystem()))
}
