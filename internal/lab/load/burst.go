package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
)

// BurstReport is the result of a burst.
type BurstReport struct {
	Connections int           `json:"connections"`
	Connected   time.Duration `json:"connected"` // until all TLS connections stood
	Served      time.Duration `json:"served"`    // until all logins were answered, from the beginning
	Failed      int           `json:"failed"`
	Errors      []string      `json:"errors"` // the first few
}

// Burst opens that many connections at once, holds them all open until the last one stands, and then logs in on every
// one. Nothing is repeated.
func (g *Generator) Burst(ctx context.Context, connections int, limit time.Duration) (*BurstReport, error) {
	if connections < 1 || connections > maxConnections {
		return nil, fmt.Errorf("%d connections, must be 1 … %d", connections, maxConnections)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b := &burst{report: BurstReport{Connections: connections}, begin: time.Now()}
	var connecting, all sync.WaitGroup
	connecting.Add(connections)
	standing := make(chan struct{})
	for i := range connections {
		d := g.devices[i%len(g.devices)]
		all.Go(func() {
			options := g.dialing(d).options
			options.Timeout, options.Attempts = limit, 1
			client, err := login.Dial(ctx, options)
			connecting.Done()
			if err != nil {
				b.failed(err)
				return
			}
			defer client.Close()
			<-standing
			if _, err := client.LoginGeneralNode(ctx, d.name, d.key, g.config.Adapter, g.adapter, identity.AssuranceMAC); err != nil {
				b.failed(err)
				return
			}
			b.served()
		})
	}
	connecting.Wait()
	b.report.Connected = time.Since(b.begin)
	close(standing)
	all.Wait()
	return &b.report, nil
}

type burst struct {
	begin time.Time

	mu     sync.Mutex
	report BurstReport
}

func (b *burst) failed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Failed++
	if len(b.report.Errors) < 10 {
		b.report.Errors = append(b.report.Errors, err.Error())
	}
}

func (b *burst) served() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Served = time.Since(b.begin)
}
